# tests/l1/tap.awk - the emulated host's output as one TAP stream; the status is 0 when all is well
function say(line) {
	print line
	print line >log_file
	fflush()
}
function point(ok, text) {
	count[ok ? (text ~ /# SKIP/ ? "SKIP" : "PASS") : "FAIL"]++
	say((ok ? "ok " : "not ok ") ++total " - " text)
}

{ sub(/\r$/, "") }

/^== begin / {
	name = $3
	plan = "none"
	points = bad = left = 0
	next
}
/^== (left behind|taken away): / {
	if (left++ < 20)
		say("# " name ": " substr($0, 4))
	next
}
/^== end / {
	if (plan != points)
		point(0, name ": planned " plan ", ran " points)
	else if ($4 != 0 && !bad)
		point(0, name ": ended with status " $4)
	point(!left, name ": leaves the host as it was")
	say("# " name ": " points " points in " $5 " s")
	name = ""
	next
}
/^== complaint: / { complaints++ }
/^== done/ { done = 1; next }
/^== / { say("# " substr($0, 4)); next }

/^(not )?ok( |$)/ {
	ok = !/^not/
	points++
	bad += !ok
	sub(/^(not )?ok *[0-9]* *(- )?/, "")
	point(ok, name ": " $0)
	next
}
/^1\.\.0.*[Ss][Kk][Ii][Pp]/ {
	plan = 0
	sub(/^1\.\.0 */, "")
	point(1, name ": all of it " $0)
	next
}
/^1\.\.[0-9]+/ { plan = substr($1, 4) + 0; next }
/^Bail out!/ { bad++; point(0, name ": " $0); next }
NF { say(/^#/ ? $0 : "# " $0) }

END {
	if (done)
		point(!complaints, "the kernel found no fault of its own")
	else
		point(0, "the emulated host stopped" (name == "" ? "" : " during " name))
	say("1.." total)
	say("# TOTAL: " total)
	for (i = 1; i <= split("PASS SKIP FAIL", k); i++)
		say("# " k[i] ": " count[k[i]] + 0)
	exit count["FAIL"] > 0
}

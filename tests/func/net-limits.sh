#!/bin/sh
# tests/func/net-limits.sh - quotas, exempt destinations, and what others do to the host's network
. "$(dirname "$0")/net-lib.sh"
outside ip addr add 198.51.100.1/24 dev eth0
net_setup '{"net.pool": "10.87.0.0/24", "net.cap": "100Mbit", "net.exempt": "198.51.100.0/24 2001:db8::/32"}'

event() { # NAME...: the last event of that name
	"$COSCTL" events | grep "$1" | tail -1
}
exempt_class() { # LINK GUEST
	slot=$("$COSCTL" status -o json "$2" | sed -n 's/.*"slot": *\([0-9]*\).*/\1/p')
	tc class show dev "$1" | grep " c05:$(printf %x $((slot + 32768))) "
}

# --- exempt ---
for v in net.exempt.rate=0 net.exempt.ceil=11Gbit net.exempt.share=0 net.exempt.share=101; do
	fails "$v is refused" 2 'net.exempt' sleeper bad "$v"
done
fails "so is a rate above the ceiling" 2 'is above net.exempt.ceil' sleeper bad net.exempt.rate=2Mbit net.exempt.ceil=1Mbit
sleeper g1 net.ceil=10Mbit net.exempt.rate=3Mbit net.exempt.ceil=50Mbit
ok "a guest with limits for exempt addresses" "$COSCTL" start g1
like "has a second class" "$(exempt_class up0 g1)" 'parent c05:4 .*rate 3Mbit ceil 50Mbit'
like "in both directions" "$(exempt_class "$(ifb)" g1)" 'parent c05:4 .*rate 3Mbit ceil 50Mbit'
within g1 perl "$T/send" 0 198.51.100.1 9 20 100
ok "what goes there is counted apart" await counts g1 out_exempt 20 $((20 * 142))
is "and not with the rest" "$(count g1 out packets)" 0
within g1 perl "$T/send" 0 192.0.2.2 9 10 100
ok "which is as it was" await counts g1 out 10 $((10 * 142))
"$COSCTL" set g1 net.exempt.ceil=20Mbit
like "its ceiling changes while it runs" "$(exempt_class up0 g1)" 'ceil 20Mbit'
fails "the sum of guarantees is bounded" 6 'net.exempt.rate=9Gbit: other guests' \
	sh -c "'$COSCTL' create --template busybox g2 net.exempt.rate=9Gbit -- sleep 1000 && '$COSCTL' set g1 net.exempt.rate=2Gbit net.exempt.ceil=max && '$COSCTL' start g2"
"$COSCTL" delete --force g2
"$COSCTL" restart --timeout 0 g1
ok "its counters stay" counts g1 out_exempt 20 $((20 * 142))

# --- quota ---
for v in net.quota=0 net.quota=1K net.quota.period=9s net.quota.period=week net.quota.period=1.5s net.quota.threshold=0 \
	net.quota.threshold=101; do
	fails "$v is refused" 2 'net.quota' sleeper bad "$v"
done
for v in day 1d 86400 month; do
	ok "net.quota.period=$v is one" "$COSCTL" set g1 "net.quota.period=$v"
done
sleeper q1 net.rate=64kbit net.ceil=50Mbit net.quota=2M net.quota.period=366d
ok "a guest with a quota" "$COSCTL" start q1
volume() { # N: hundreds of datagrams of 1042 bytes, no more at once than the queue holds
	for _ in $(seq "$1"); do
		within q1 perl "$T/send" 0 192.0.2.2 9 100 1000
	done
}
volume 10
sleep 2
like "has its ceiling below the threshold" "$(class up0 q1)" 'ceil 50Mbit'
volume 7
lowered() {
	class "$1" q1 | grep -q 'ceil 64Kbit'
}
ok "past it the ceiling is what is left over the time, or the guarantee" await lowered up0
like "the other direction is as it was" "$(class "$(ifb)" q1)" 'ceil 50Mbit'
like "there is an event" "$("$COSCTL" events)" 'limit-hit .*q1 .*net.quota'
like "and the quota stands with the limits" "$("$COSCTL" stats --limits q1)" 'net.quota'
within q1 perl "$T/send" 0 192.0.2.2 9 5 1000
sleep 1
told() {
	"$COSCTL" events | grep -c 'limit-hit.*net.quota'
}
is "one event in a period" "$(told)" 1
worker=$(cat "$T/run/cosd.pid")
kill -9 "$worker"
await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
ok "the next worker knows" await lowered up0
"$COSCTL" restart --timeout 0 q1
ok "so does the next run" lowered up0
"$COSCTL" delete --force q1
sleeper q1 net.rate=64kbit net.ceil=50Mbit net.quota=2M net.quota.period=366d
"$COSCTL" start q1
ok "who deletes a guest and makes it again has no more than before" await lowered up0
is "though its counters begin anew" "$(count q1 out packets)" 0
is "and no further event" "$(told)" 1
"$COSCTL" delete --force q1
period() { # begin or end
	sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" "$T/state/net/q1.json"
}
begin=$(period begin)
sed -i "s/\"begin\": *[0-9]*/\"begin\": $((begin + 10 * 366 * 86400))/; s/\"end\": *[0-9]*/\"end\": $((begin + 11 * 366 * 86400))/" \
	"$T/state/net/q1.json"
sleeper q1 net.rate=64kbit net.ceil=50Mbit net.quota=2M net.quota.period=366d
"$COSCTL" start q1
ok "what was used is, though the clock was put back" await lowered up0
is "in the period of today" "$(period begin)" "$begin"
"$COSCTL" set q1 net.quota=1G
like "a larger quota counts at once" "$(await sh -c "tc class show dev up0 | grep -q 'ceil 50Mbit'" && class up0 q1)" 'ceil 50Mbit'
"$COSCTL" set q1 net.quota=2M
await lowered up0
"$COSCTL" set q1 net.quota=max
raised() {
	class up0 q1 | grep -q 'ceil 50Mbit'
}
ok "and so does none" await raised
"$COSCTL" set q1 net.quota=1M net.quota.period=10s
spend() { # again where a period began meanwhile
	volume 12
	lowered up0
}
ok "a short period" await spend
renewed() {
	i=0
	until raised; do
		i=$((i + 1))
		[ $i -lt 300 ] || return 1
		sleep 0.1
	done
}
ok "ends, and the ceiling is the guest's again" renewed

# --- what others do ---
reaches() {
	"$COSCTL" exec g1 -- ping -c 1 -W 1 192.0.2.2
}
ok "the guest reaches the outside" await reaches
nft flush ruleset
has_table() {
	nft list table inet "$table" | grep -q 10.87.0.2
}
ok "after a flush the table is made again" await has_table
ok "and the guest reaches the outside" await reaches
like "which is an event" "$("$COSCTL" events)" 'network-repaired.*table'
nft delete chain inet "$table" output
has_chain() {
	nft list chain inet "$table" output
}
ok "a chain that is deleted comes back" await has_chain
nft flush set inet "$table" own4
has_element() {
	nft list set inet "$table" own4 | grep -q 10.87.0.2
}
ok "so does a set's content" await has_element
nft add table inet foreign
nft delete table inet foreign
before=$("$COSCTL" events | grep -c network-repaired)
"$COSCTL" set g1 net.pps=1000
"$COSCTL" set g1 net.pps=max
sleep 1
is "tables of others are none of its business, nor what it does itself" "$("$COSCTL" events | grep -c network-repaired)" "$before"
out_p=$(count g1 out packets)
ip link del up0
uplink_lost() {
	"$COSCTL" events | grep -q uplink-lost
}
ok "an uplink that goes is noticed" await uplink_lost
is "counters stay" "$(count g1 out packets)" "$out_p"
like "doctor tells" "$("$COSCTL" doctor)" 'network .*no way to elsewhere'
ok "guests reach each other" "$COSCTL" exec g1 -- ping -c 1 -W 5 "$(field q1 ipv4)"
sleeper g3
ok "one can be started" "$COSCTL" start g3
worker=$(cat "$T/run/cosd.pid")
kill -9 "$worker"
await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
ok "the daemon starts again without it" "$COSCTL" list
add_uplink
shaped() {
	class up0 g3
}
ok "when it comes back, guests have their classes" await shaped
ok "and reach the outside" await reaches
grown() {
	[ "$(count g1 out packets)" -gt "$out_p" ]
}
ok "counters go on" await grown
ip link del "$(ifb)"
ifb_back() {
	[ -n "$(ifb)" ] && class "$(ifb)" g1 && busybox ping -c 1 -W 1 "$(field g1 ipv4)"
}
ok "an ifb that is deleted is made again" await ifb_back
in_p=$(count g1 in packets)
busybox ping -c 1 -W 1 "$(field g1 ipv4)" >/dev/null
counted_in() {
	[ "$(count g1 in packets)" -gt "$in_p" ]
}
ok "and what arrives goes through it" await counted_in

# --- two daemons ---
like "another daemon cannot shape the same link" "$(timeout 20 "$COSD" --instance "$INSTANCE-b" --state-dir "$T/b-state" --runtime-dir "$T/b-run" --net-pool 10.86.0.0/24 --uplink up0 2>&1)" "up0 is another cosd's uplink already"
is "and leaves nothing" "$(ip -o link | grep -c cosifb)" 1
net_done

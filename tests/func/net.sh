#!/bin/sh
# tests/func/net.sh - routed guests: addresses, rates, counters, ports, peers, forged sources, restarts
. "$(dirname "$0")/net-lib.sh"
net_setup '{"net.pool": "10.88.0.0/24", "net.pool6": "fd88::/64", "net.cap": "100Mbit"}'

# --- addresses ---
sleeper g1
ok "a guest starts" "$COSCTL" start g1
is "it has the pool's first free address" "$(field g1 ipv4)" 10.88.0.2
is "and one of IPv6" "$(field g1 ipv6)" fd88::2
like "it is on its link" "$("$COSCTL" exec g1 -- ip -4 addr show eth0)" 'inet 10\.88\.0\.2/32'
like "with a way out" "$("$COSCTL" exec g1 -- ip route)" '^default via 10\.88\.0\.1 dev eth0'
like "of IPv6, too" "$("$COSCTL" exec g1 -- ip -6 route)" '^default via fe80::1 dev eth0'
ok "it reaches the gateway" await "$COSCTL" exec g1 -- ping -c 1 -W 1 10.88.0.1
ok "by IPv6" await "$COSCTL" exec g1 -- ping -c 1 -W 1 fd88::1
ok "and what is outside" "$COSCTL" exec g1 -- ping -c 1 -W 5 192.0.2.2
is "its link has the guest's name" "$(ip -o link show "$("$COSCTL" status -o json g1 | sed -n 's/.*"link": *"\([^"]*\)".*/\1/p')" | sed -n 's/.*alias \(.*\)/\1/p')" "g1"
"$COSCTL" stop --timeout 0 g1
is "a stopped guest keeps its address" "$("$COSCTL" status g1 | sed -n 's/^ipv4 *//p')" 10.88.0.2
sleeper g2
"$COSCTL" start g2 g1
is "the next one gets another" "$(field g2 ipv4) $(field g1 ipv4)" "10.88.0.3 10.88.0.2"
ok "they reach each other" "$COSCTL" exec g1 -- ping -c 1 -W 5 10.88.0.3
sleeper g3 'net.address=["10.88.0.77"]'
ok "one may ask for an address" "$COSCTL" start g3
is "and gets it" "$(field g3 ipv4)" 10.88.0.77
sleeper bad 'net.address=["10.88.0.77"]'
fails "not another guest's" 6 "10.88.0.77 is g3's" "$COSCTL" start bad
"$COSCTL" set bad 'net.address=["10.99.0.1"]'
fails "nor one of no pool" 6 '10.99.0.1 is in no pool' "$COSCTL" start bad
"$COSCTL" set bad 'net.address=["10.88.0.1"]'
fails "nor the gateway's" 6 'not an address that a guest may have' "$COSCTL" start bad
"$COSCTL" set bad 'net.address=["fd88::99"]'
ok "of either family" "$COSCTL" start bad
is "the other is free" "$(field bad ipv4) $(field bad ipv6)" "10.88.0.4 fd88::99"
"$COSCTL" delete --force bad
for v in x '["x"]' '["10.0.0.1/8"]' '["10.88.0.9","10.88.0.10"]' '[1]' '[""]'; do
	fails "net.address=$v is refused" 2 'net.address' sleeper bad "net.address=$v"
done
fails "a mode that is not there" 2 'not auto, routed, bridge' sleeper bad net.mode=magic
sleeper alone net.mode=none
"$COSCTL" start alone
is "without a network there is lo" "$("$COSCTL" exec alone -- ls /sys/class/net)" lo
fails "and no limit of one" 1 'net.ceil needs a network' "$COSCTL" set alone net.ceil=1Mbit
"$COSCTL" delete --force alone

# --- rates ---
for v in net.rate=0 net.ceil=0 net.ceil=11Gbit net.ceil=1MB net.ceil=10Mbps net.rate=-1 net.share=0 net.share=101 net.pps=0 \
	net.burst=1 net.rate=1K; do
	fails "$v is refused" 2 'net\.' "$COSCTL" set g1 "$v"
done
fails "a rate above the ceiling" 2 'net.rate=2Mbit is above net.ceil' "$COSCTL" set g1 net.rate=2Mbit net.ceil=1Mbit
ok "set on a guest that runs" "$COSCTL" set g1 net.ceil=10Mbit net.rate=2Mbit net.burst=16K net.share=3
like "is the class at the uplink" "$(class up0 g1)" 'rate 2Mbit ceil 10Mbit burst 16Kb cburst 2500b'
like "and that of what arrives" "$(class "$(ifb)" g1)" 'rate 2Mbit ceil 10Mbit'
like "the share is its quantum" "$(tc -d class show dev up0 | grep 'rate 2Mbit')" 'quantum 196608'
ok "a guarantee" "$COSCTL" set g2 net.rate=90Mbit
fails "the sum is bounded" 6 'have 90008kbit of the 100Mbit that may be reserved: 9992kbit is left' "$COSCTL" set g1 net.rate=10Mbit net.ceil=max
like "nothing has changed" "$(class up0 g1)" 'rate 2Mbit ceil 10Mbit'
sleeper g4 net.rate=20Mbit
fails "also at a start" 6 'net.rate=20Mbit: guests that run have' "$COSCTL" start g4
is "which leaves nothing" "$(field g4 state)$("$COSCTL" status g4 | grep -c '^ipv4')" defined0
"$COSCTL" set g2 net.rate=10Mbit
ok "when there is room it starts" "$COSCTL" start g4
"$COSCTL" delete --force g4

# --- counters ---
out_p=$(count g2 out packets)
out_b=$(count g2 out bytes)
in_p=$(count g2 in packets)
in_b=$(count g2 in bytes)
rm -f "$T/ready"
outside perl "$T/take" 192.0.2.2 5000 50 "$T/ready" >"$T/from" &
take=$!
await test -e "$T/ready"
within g2 perl "$T/send" 0 192.0.2.2 5000 50 1000
wait $take
is "datagrams leave by the host's address" "$(cat "$T/from")" 192.0.2.1
ok "each counts with its headers" await counts g2 out $((out_p + 50)) $((out_b + 50 * 1042))
rm -f "$T/ready"
within g2 perl "$T/take" 10.88.0.3 5000 20 "$T/ready" >"$T/from" &
take=$!
await test -e "$T/ready"
perl "$T/send" 0 10.88.0.3 5000 20 500
wait $take
ok "and so does what arrives" await counts g2 in $((in_p + 20)) $((in_b + 20 * 542))
worker=$(cat "$T/run/cosd.pid")
kill -9 "$worker"
await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
ok "counters outlive the worker" counts g2 out $((out_p + 50)) $((out_b + 50 * 1042))
ok "the network does, too" "$COSCTL" exec g2 -- ping -c 1 -W 5 10.88.0.1
in_p=$(count g2 in packets)
in_b=$(count g2 in bytes)
"$COSCTL" restart --timeout 0 g2
ok "they outlive the guest's run" counts g2 out $((out_p + 50)) $((out_b + 50 * 1042))
is "in both directions" "$(count g2 in packets) $(count g2 in bytes)" "$in_p $in_b"
"$COSCTL" delete --force g2
sleeper g2
"$COSCTL" start g2
is "another guest of the name begins anew" "$(count g2 out packets)" 0

# --- sources ---
spoofed() {
	nft list counter inet "$table" spoofed | sed -n 's/.*packets \([0-9]*\).*/\1/p'
}
before=$(spoofed)
own=$(count g1 out packets)
within g1 ip addr add 10.88.0.3/32 dev eth0
within g1 perl "$T/send" 10.88.0.3 192.0.2.2 9 5 100
within g1 perl "$T/send" 203.0.113.9 192.0.2.2 9 5 100
is "forged sources are dropped and counted" "$(($(spoofed) - before))" 10
is "and are not the guest's traffic" "$(count g1 out packets)" "$own"
within g1 ip addr del 10.88.0.3/32 dev eth0
within g1 ip link set eth0 address 02:c0:05:00:00:99
ok "a guest that changes its MAC" "$COSCTL" exec g2 -- ping -c 1 -W 5 10.88.0.1
"$COSCTL" restart --timeout 0 g1
ok "hurts itself alone" "$COSCTL" exec g1 -- ping -c 1 -W 5 10.88.0.1
within g1 ip link del eth0
ok "one that deletes its link can be stopped" "$COSCTL" stop --timeout 0 g1
ok "and started" "$COSCTL" start g1
ok "and has its link" "$COSCTL" exec g1 -- ping -c 1 -W 5 10.88.0.1

# --- ports ---
for v in x '[1]' '[{"proto":"icmp","host":1}]' '[{"proto":"tcp"}]' '[{"proto":"tcp","host":0}]' '[{"proto":"tcp","host":65536}]' \
	'[{"proto":"tcp","host":1},{"proto":"tcp","host":1}]' '[{"proto":"tcp","host":1,"x":1}]'; do
	fails "net.forward=$v is refused" 2 'net.forward' "$COSCTL" set g1 "net.forward=$v"
done
ok "a port of the host" "$COSCTL" set g1 'net.forward=[{"proto":"tcp","host":8080,"guest":80},{"proto":"udp","host":53}]'
"$COSCTL" exec g1 -- sh -c 'echo hello | nc -l -p 80' &
served() {
	[ "$(outside busybox nc -w 2 192.0.2.1 8080 </dev/null)" = hello ]
}
ok "leads to the guest" await served
sleeper g5 'net.forward=[{"proto":"udp","host":53}]'
fails "no other guest gets it" 6 'udp port 53 of the host leads to g1' "$COSCTL" start g5
"$COSCTL" set g1 net.forward=
ok "until it is given back" "$COSCTL" start g5
"$COSCTL" delete --force g5

# --- peers ---
for v in x '[1]' '["Bad"]' '"none"'; do
	fails "net.peers=$v is refused" 2 'net.peers' "$COSCTL" set g1 "net.peers=$v"
done
ok "peers" "$COSCTL" set g1 'net.peers=["g3"]'
fails "others do not get through" 1 '' "$COSCTL" exec g2 -- ping -c 1 -W 1 10.88.0.2
ok "a peer does" "$COSCTL" exec g3 -- ping -c 1 -W 5 10.88.0.2
ok "the guest gets answers of all" "$COSCTL" exec g1 -- ping -c 1 -W 5 10.88.0.3
"$COSCTL" restart --timeout 0 g3
ok "also one that was started later" "$COSCTL" exec g3 -- ping -c 1 -W 5 10.88.0.2
worker=$(cat "$T/run/cosd.pid")
kill -9 "$worker"
await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
ok "and after the worker was replaced" "$COSCTL" exec g3 -- ping -c 1 -W 5 10.88.0.2
"$COSCTL" set g1 'net.peers=[]'
fails "none may" 1 '' "$COSCTL" exec g3 -- ping -c 1 -W 1 10.88.0.2
ok "the host may" busybox ping -c 1 -W 5 10.88.0.2
"$COSCTL" set g1 net.peers=
ok "and all again" "$COSCTL" exec g2 -- ping -c 1 -W 5 10.88.0.2

# --- packets ---
"$COSCTL" set g1 net.pps=10
own=$(count g1 out packets)
within g1 perl "$T/send" 0 192.0.2.2 9 500 10
few() { # none later: they were all sent
	[ $(($(count g1 out packets) - own)) -lt 100 ]
}
ok "no more packets than net.pps" few
"$COSCTL" set g1 net.pps=max
own=$(count g1 out packets)
within g1 perl "$T/send" 0 192.0.2.2 9 500 10
all_sent() {
	[ $(($(count g1 out packets) - own)) = 500 ]
}
ok "all without it" await all_sent

# --- what is in use ---
refused_start() { # ARGS...: another daemon
	timeout 20 "$COSD" --instance "$INSTANCE-b" --state-dir "$T/b-state" --runtime-dir "$T/b-run" "$@" 2>&1
}
like "a pool that overlaps is refused" "$(refused_start --net-pool 10.88.0.128/25 --uplink none)" 'the pool 10.88.0.128/25 overlaps'
like "and one with an address of the host" "$(refused_start --net-pool 192.0.2.0/24 --uplink none)" 'overlaps .* 192.0.2'
like "an uplink that is not there" "$(refused_start --net-pool 10.89.0.0/16 --uplink nosuch)" 'net.uplink: link nosuch'
like "a pool that is none" "$(refused_start --net-pool 10.89.0.1/16)" 'net.pool: is not a block'
ip link add other0 type veth peer name other1
tc qdisc add dev other0 root handle 7: bfifo
like "an uplink that somebody shapes" "$(refused_start --net-pool 10.89.0.0/16 --uplink other0)" 'other0 has a queueing discipline'
is "and nothing is left of them" "$(ip -o link | grep -c cosifb) $(nft list tables | grep -c cos)" "1 2"

# --- the end ---
stop_daemon
ok "the network goes on without the daemon" busybox ping -c 1 -W 5 10.88.0.3
cos_start_daemon
ok "and with the next one" "$COSCTL" exec g2 -- ping -c 1 -W 5 192.0.2.2
like "doctor tells" "$("$COSCTL" doctor)" 'network .*10.88.0.0/24 fd88::/64, 100Mbit by up0'
"$COSCTL" delete --force --all
no_links() {
	! ip -o link | grep -q 'cos[0-9]'
}
ok "links go with the guests" await no_links
is "classes too" "$(tc class show dev up0 | grep -c 'parent c05:3')" 0
stop_daemon
is "without guests nothing is left" "$(ip -o link | grep -c cos)$(nft list ruleset | grep -c cos)$(ip route | grep -c 10.88)" 000
is "the uplink is as it was" "$(tc qdisc show dev up0 | grep -c htb)" 0
net_done

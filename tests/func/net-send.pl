# tests/func/net-send.pl - datagrams: FROM (an address or 0), TO, PORT, COUNT, BYTES
#
# A guest's root may bind any address.
use Socket;
my ($from, $to, $port, $n, $size) = @ARGV;
socket(my $s, AF_INET, SOCK_DGRAM, 0) or die;
setsockopt($s, 0, 19, 1) if $from ne "0"; # IP_TRANSPARENT
bind($s, pack_sockaddr_in(0, inet_aton($from))) or die "bind: $!" if $from ne "0";
for (1 .. $n) { send($s, "x" x $size, 0, pack_sockaddr_in($port, inet_aton($to))) or die "send: $!"; }

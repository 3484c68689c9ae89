# tests/func/net-take.pl - takes COUNT datagrams on ADDRESS, PORT; prints who sent the last one
#
# The fourth argument is a file that is made when it listens.
use Socket;
$SIG{ALRM} = sub { print "nothing\n"; exit 1 };
alarm 10;
my ($at, $port, $n) = @ARGV;
socket(my $s, AF_INET, SOCK_DGRAM, 0) or die;
setsockopt($s, SOL_SOCKET, SO_RCVBUF, 1 << 22);
bind($s, pack_sockaddr_in($port, inet_aton($at))) or die "bind: $!";
open(my $ready, ">", $ARGV[3]); close $ready;
my ($from, $d);
for (1 .. $n) { $from = recv($s, $d, 2000, 0); }
print inet_ntoa((unpack_sockaddr_in($from))[1]), "\n";

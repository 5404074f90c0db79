package engine

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestRefusesSource(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		why    string
		remote string
		want   Reason
	}{
		{"an ordinary client", "192.0.2.7:40000", None},
		{"an ordinary client over IPv6", "[2001:db8::7]:40000", None},
		{"a link-local client", "[fe80::7%eth0]:40000", None},
		{"the first port that is not a server's", "192.0.2.7:1024", None},
		{"the last port of servers", "192.0.2.7:1023", ServerPort},
		{"echo", "192.0.2.7:7", ServerPort},
		{"chargen", "[2001:db8::7]:19", ServerPort},
		{"DNS", "192.0.2.7:53", ServerPort},
		{"TFTP (CVE-2024-2169)", "192.0.2.7:69", ServerPort},
		{"NTP", "127.0.0.1:123", ServerPort},
		{"SSDP", "192.0.2.7:1900", ServerPort},
		{"NFS", "192.0.2.7:2049", ServerPort},
		{"multicast DNS", "192.0.2.7:5353", ServerPort},
		{"memcached", "192.0.2.7:11211", ServerPort},
		{"port 0", "192.0.2.7:0", BadSource},
		{"no address", "0.0.0.0:40000", BadSource},
		{"no address over IPv6", "[::]:40000", BadSource},
		{"this network", "0.1.2.3:40000", BadSource},
		{"all hosts of this network", "255.255.255.255:40000", BadSource},
		{"multicast", "224.0.0.1:40000", BadSource},
		{"multicast, the last", "239.255.255.255:40000", BadSource},
		{"multicast over IPv6", "[ff02::1]:40000", BadSource},
	} {
		if got := refusesSource(netip.MustParseAddrPort(tt.remote)); got != tt.want {
			t.Errorf("%s, from %s: %q, want %q", tt.why, tt.remote, got, tt.want)
		}
	}
	if got := refusesSource(netip.AddrPort{}); got != BadSource {
		t.Errorf("from nowhere: %q, want %q", got, BadSource)
	}
}

// networks returns a list of interface addresses.
func networks(cidrs ...string) func() ([]net.Addr, error) {
	return func() ([]net.Addr, error) {
		var list []net.Addr
		for _, s := range cidrs {
			ip, n, err := net.ParseCIDR(s)
			if err != nil {
				return nil, err
			}
			list = append(list, &net.IPNet{IP: ip, Mask: n.Mask})
		}
		return list, nil
	}
}

func TestBroadcastAddresses(t *testing.T) {
	t.Parallel()
	l := localAddrs{list: networks("127.0.0.1/8", "192.0.2.5/24", "198.51.100.9/29", "203.0.113.0/31", "203.0.113.8/32", "2001:db8::5/64")}
	l.refresh(0)
	for _, tt := range []struct {
		addr string
		want bool
	}{
		{"192.0.2.255", true},
		{"192.0.2.0", true},
		{"192.0.2.5", false},
		{"192.0.2.254", false},
		{"198.51.100.15", true},
		{"198.51.100.8", true},
		{"198.51.100.14", false},
		{"127.255.255.255", true},
		{"203.0.113.0", false}, // of two hosts
		{"203.0.113.1", false},
		{"203.0.113.8", false}, // of one
		{"2001:db8::ffff:ffff:ffff:ffff", false},
		{"10.0.0.255", false},
	} {
		if got := l.broadcast[netip.MustParseAddr(tt.addr)]; got != tt.want {
			t.Errorf("%s is a broadcast address: %v, want %v", tt.addr, got, tt.want)
		}
	}
	for addr, want := range map[string]bool{
		"192.0.2.5": true, "2001:db8::5": true, "127.9.9.9": true, "::1": true, "192.0.2.6": false,
	} {
		if got := l.isOwn(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is ours: %v, want %v", addr, got, want)
		}
	}
}

func TestLocalAddressesAreReadAnew(t *testing.T) {
	t.Parallel()
	reads := 0
	var failure error
	l := localAddrs{list: func() ([]net.Addr, error) {
		reads++
		list, _ := networks("192.0.2.5/24")()
		return append(list, &net.UnixAddr{Name: "no prefix"}), failure
	}}
	for _, tt := range []struct {
		why   string
		at    time.Duration
		reads int
		err   error
	}{
		{"at first", 0, 1, nil},
		{"not yet", localEvery - 1, 1, nil},
		{"after a while", localEvery, 2, nil},
		{"a failure", 2 * localEvery, 3, errors.New("no netlink")},
		{"it is not repeated at once", 2*localEvery + 1, 3, errors.New("no netlink")},
	} {
		failure = tt.err
		if l.refresh(tt.at); reads != tt.reads {
			t.Errorf("%s: read %d times, want %d", tt.why, reads, tt.reads)
		}
		if !l.own[netip.MustParseAddr("192.0.2.5")] {
			t.Errorf("%s: the address is not known", tt.why)
		}
	}
}

func TestBoundPorts(t *testing.T) {
	t.Parallel()
	local := &localAddrs{list: networks("192.0.2.5/24", "2001:db8::5/64", "fe80::5/64")}
	local.refresh(0)
	for _, tt := range []struct {
		why    string
		bound  string
		remote string
		want   bool
	}{
		{"the socket itself", "192.0.2.5:10007", "192.0.2.5:10007", true},
		{"another port", "192.0.2.5:10007", "192.0.2.5:10008", false},
		{"the same port of another host", "192.0.2.5:10007", "192.0.2.6:10007", false},
		{"the same port of another address of ours", "192.0.2.5:10007", "127.0.0.1:10007", false},
		{"bound to all: our address", "0.0.0.0:10007", "192.0.2.5:10007", true},
		{"bound to all: loopback", "0.0.0.0:10007", "127.8.8.8:10007", true},
		{"bound to all: another host", "0.0.0.0:10007", "192.0.2.6:10007", false},
		{"bound to all: another port", "0.0.0.0:10007", "192.0.2.5:10008", false},
		{"bound to all of both families", "[::]:10007", "192.0.2.5:10007", true},
		{"bound to all of both families: IPv6", "[::]:10007", "[2001:db8::5]:10007", true},
		{"bound to all of both families: ::1", "[::]:10007", "[::1]:10007", true},
		{"a zone does not matter", "[::]:10007", "[fe80::5%eth0]:10007", true},
		{"nor where it is bound", "[fe80::5%eth0]:10007", "[fe80::5%2]:10007", true},
		{"4-in-6", "[::ffff:192.0.2.5]:10007", "192.0.2.5:10007", true},
	} {
		b := make(boundPorts)
		bound, remote := netip.MustParseAddrPort(tt.bound), netip.MustParseAddrPort(tt.remote)
		b.add(bound)
		b.add(bound) // SO_REUSEPORT
		b.remove(bound)
		if got := b.holds(remote, local); got != tt.want {
			t.Errorf("%s: bound to %s, from %s: %v, want %v", tt.why, bound, remote, got, tt.want)
		}
		if b.remove(bound); b.holds(remote, local) || len(b) > 0 {
			t.Errorf("%s: still there when it is closed", tt.why)
		}
	}
}

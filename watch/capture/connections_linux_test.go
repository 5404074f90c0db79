package capture

import (
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"yodel/yodeltest/netns"
)

// The list has the owner's connections with their figures, and counts those of others.
func TestConnections(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	other := startUser(t, a, firstUser)
	other.do(errand{Do: "serve", Local: []string{"127.0.0.1:10007"}})
	other.do(errand{Do: "bind", Local: []string{"127.0.0.1:10008"}})
	var table *Table
	var l net.Listener
	var c, toOther net.Conn
	if err := a.Inside(func() (err error) {
		if table, err = NewTable(nil); err != nil {
			return err
		}
		lc := net.ListenConfig{}
		lc.SetMultipathTCP(false)
		if l, err = lc.Listen(t.Context(), "tcp", "[::1]:7"); err == nil {
			toOther, err = net.Dial("tcp", "127.0.0.1:10007")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	defer l.Close()
	defer toOther.Close()
	io.WriteString(toOther, "there and back")
	if _, err := io.ReadFull(toOther, make([]byte, 14)); err != nil {
		t.Fatal(err)
	}
	first, err := table.Refresh()
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Own) != 2 || first.Hidden != 1 || first.HiddenPorts != 2 || first.UID != 0 {
		t.Fatalf("%+v", first)
	}
	conn, listener := first.Own[0], first.Own[1]
	if conn.State != "ESTABLISHED" || conn.Network != "tcp" || conn.Remote != netip.MustParseAddrPort("127.0.0.1:10007") || conn.Whole ||
		conn.TCP.Acked < 14 || conn.TCP.Received != 14 || conn.TCP.RTT <= 0 || conn.TCP.MSS == 0 || conn.TCP.SegmentsOut < 3 || conn.TCP.IdleIn > time.Minute {
		t.Errorf("%+v", conn)
	}
	if listener.State != "LISTEN" || listener.Local != netip.MustParseAddrPort("[::1]:7") || listener.Remote.Port() != 0 {
		t.Errorf("%+v", listener)
	}
	if p := conn.Processes; len(p) != 1 || p[0].PID != os.Getpid() || !strings.HasPrefix("capture.test", p[0].Name) {
		t.Errorf("held by %+v", p)
	}
	if err := a.Inside(func() (err error) {
		c, err = net.Dial("udp", "[::1]:7")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	second, err := table.Refresh()
	if err != nil || len(second.Own) != 3 {
		t.Fatalf("%+v, %v", second, err)
	}
	if u := second.Own[2]; u.Network != "udp" || u.State != "ESTABLISHED" || !u.Whole || u.Age != 0 || u.TCP != (TCPInfo{}) {
		t.Errorf("%+v", u)
	}
	if same := second.Own[0]; same.Cookie != conn.Cookie || same.Age <= 0 || same.Age != second.Time.Sub(first.Time) {
		t.Errorf("%+v", same)
	}
}

// A table shows what was asked for: ports, addresses, processes, users.
func TestConnectionsAskedFor(t *testing.T) {
	t.Parallel()
	a, _ := netns.Two(t)
	other := startUser(t, a, firstUser)
	other.do(errand{Do: "serve", Local: []string{"127.0.0.1:10007"}})
	child := startUser(t, a, 0)
	child.do(errand{Do: "serve", Local: []string{"127.0.0.1:10008", "127.0.0.2:10009"}})
	local := func(cfg *Config) (ports []uint16) {
		t.Helper()
		var table *Table
		err := a.Inside(func() (err error) {
			table, err = NewTable(cfg)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		var all Connections
		for range 2 { // the second time it is known
			if all, err = table.Refresh(); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range all.Own {
			ports = append(ports, c.Local.Port())
		}
		return ports
	}
	for name, test := range map[string]struct {
		cfg  Config
		want []uint16
	}{
		"all":             {Config{}, []uint16{10008, 10009}},
		"a port":          {Config{Ports: []uint16{10009, 7}}, []uint16{10009}},
		"an address":      {Config{Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, []uint16{10008}},
		"a process":       {Config{Processes: []int{child.cmd.Process.Pid}}, []uint16{10008, 10009}},
		"its parent":      {Config{Processes: []int{os.Getpid()}}, []uint16{10008, 10009}},
		"another process": {Config{Processes: []int{other.cmd.Process.Pid}}, nil},
		"another user":    {Config{UID: firstUser}, []uint16{10007}},
		"all users":       {Config{AllUsers: true}, []uint16{10007, 10008, 10009}},
	} {
		if got := local(&test.cfg); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	if _, err := NewTable(&Config{Ports: make([]uint16, 65)}); err == nil {
		t.Error("too many ports")
	}
}

func TestParseTCPInfo(t *testing.T) {
	t.Parallel()
	i := unix.TCPInfo{Rtt: 1500, Min_rtt: 1<<32 - 1, Total_retrans: 3, Bytes_acked: 1 << 40, Last_data_recv: 7}
	whole := unsafe.Slice((*byte)(unsafe.Pointer(&i)), unsafe.Sizeof(i))
	got := parseTCPInfo(whole)
	if got.RTT != 1500*time.Microsecond || got.MinRTT != 0 || got.Retransmits != 3 || got.Acked != 1<<40 || got.IdleIn != 7*time.Millisecond {
		t.Errorf("%+v", got)
	}
	if old := parseTCPInfo(whole[:unsafe.Offsetof(i.Bytes_acked)]); old.Retransmits != 3 || old.Acked != 0 {
		t.Errorf("of an older kernel: %+v", old)
	}
	if newer := parseTCPInfo(append(whole[:len(whole):len(whole)], 1, 2, 3)); newer != got {
		t.Errorf("of a newer kernel: %+v", newer)
	}
}

func TestStateName(t *testing.T) {
	t.Parallel()
	for state, want := range map[uint8]string{0: "0", 1: "ESTABLISHED", stateTimeWait: "TIME-WAIT", stateListen: "LISTEN", stateNewSyn: "SYN-RECEIVED", 77: "77"} {
		if got := stateName(state); got != want {
			t.Errorf("%d is %s", state, got)
		}
	}
}

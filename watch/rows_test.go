package watch_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"yodel/watch"
	"yodel/watch/capture"
	"yodel/watch/flow"
)

// socket is one as the kernel's list has it.
func socket(cookie uint64, network, state string, local, remote netip.AddrPort) capture.Connection {
	return capture.Connection{Network: network, State: state, Local: local, Remote: remote, Cookie: cookie, Whole: true}
}

// A row is told when it is new, when its state is another, and when it is gone, with
// what was captured of it.
func TestOverview(t *testing.T) {
	t.Parallel()
	o := &watch.Overview{Captured: true}
	m := newMade(t)
	m.handshake()
	m.segment(c, ack, 1, 1, 1000, "hello")
	m.write(udp(server, client, "question"))
	m.write(udp(client, server, "answer!"))
	var flows []*flow.Flow
	watched(t, m.file(), &watch.Config{View: viewFunc(func(e *watch.Event) error {
		if e.Type == watch.FlowEnded {
			flows = append(flows, e.Flow)
			return nil
		}
		return o.Show(e)
	})})
	tcp := socket(1, "tcp", "ESTABLISHED", client, server)
	tcp.TCP = capture.TCPInfo{Sent: 5, Received: 7, RTT: 1500 * time.Microsecond, Retransmits: 2}
	tcp.Processes = []capture.Process{{PID: 12, Name: "curl\x1b"}, {PID: 13, Name: "sh"}}
	tcp.Age = 90 * time.Second
	list := &capture.Connections{Hidden: 3, HiddenPorts: 1, Own: []capture.Connection{
		tcp, socket(2, "udp", "ESTABLISHED", client, server), socket(3, "tcp", "LISTEN", server, netip.AddrPort{}),
		socket(4, "tcp", "SYN-SENT", netip.MustParseAddrPort("[::ffff:192.0.2.1]:9"), server),
	}}
	all, changed := o.Update(list)
	if len(all) != 3 || len(changed) != 3 {
		t.Fatalf("%+v\n%+v", all, changed)
	}
	if r := all[0]; r.Packets != 4 || r.Sent != 5 || r.Received != 7 || r.Again != 2 || r.Older {
		t.Errorf("%+v", r)
	}
	if r := all[1]; r.Packets != 2 || r.Sent != 7 || r.Received != 8 || r.State != "" {
		t.Errorf("datagrams, from the other side of the flow: %+v", r)
	}
	if r := all[2]; r.Packets != 0 || r.Local.String() != "192.0.2.1:9" {
		t.Errorf("nothing was captured of %+v", r)
	}
	if s := o.OthersText(); s != "hidden: 3 connections of others, 1 socket of theirs that wait, 1 socket of yours that wait" {
		t.Error(s)
	}
	if got, want := all[0].Text(watch.WideRow), "12 curl\\x1b +1     tcp 192.0.2.1:51213       192.0.2.2:15213       ESTABLISHED       5        7 1.50 ms     2  1m30s        4"; got != want {
		t.Errorf("%q, want\n%q", got, want)
	}
	if got, want := all[0].Text(80), "12 curl\\x… 192.0.2.2:15213       ESTABLISHED      5      7 1.50 ms     2  1m30s"; got != want {
		t.Errorf("%q, want\n%q", got, want)
	}
	for _, width := range []int{80, watch.WideRow} {
		heading, row := watch.RowHeading(width), all[1].Text(width)
		if utf8.RuneCountInString(heading) != utf8.RuneCountInString(row) || len(heading) > width {
			t.Errorf("%q\n%q", heading, row)
		}
	}
	if _, changed = o.Update(list); len(changed) != 0 {
		t.Errorf("nothing has changed, and %+v", changed)
	}
	list.Own = list.Own[:1]
	list.Own[0].State = "FIN-WAIT-1"
	o.Show(&watch.Event{Type: watch.FlowEnded, Flow: flows[0]})
	all, changed = o.Update(list)
	if len(all) != 1 || all[0].Packets != 0 || len(changed) != 3 || changed[0].State != "FIN-WAIT-1" || !changed[1].Gone || !changed[2].Gone {
		t.Errorf("%+v\n%+v", all, changed)
	}
	if text := changed[1].Text(watch.WideRow); !strings.Contains(text, " gone ") {
		t.Error(text)
	}
}

// Without a capture a row says so.
func TestOverviewNotCaptured(t *testing.T) {
	t.Parallel()
	o := &watch.Overview{}
	older := socket(1, "udp", "ESTABLISHED", client, server)
	older.Whole, older.Age = false, 26*time.Hour
	all, _ := o.Update(&capture.Connections{Own: []capture.Connection{older}})
	if got, want := all[0].Text(watch.WideRow), "-                  udp 192.0.2.1:51213       192.0.2.2:15213                         -        -       -     - >1d02h        -"; got != want {
		t.Errorf("%q, want\n%q", got, want)
	}
	var out bytes.Buffer
	v := &watch.JSONView{W: &out}
	if err := v.ShowRow(began, &all[0]); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), `{"type":"connection","time":"2026-05-06T07:08:09.000000000Z","network":"udp","local":"192.0.2.1:51213","remote":"192.0.2.2:15213","uid":0,"age_us":93600000000.000,"older":true,"captured":false}`+"\n"; got != want {
		t.Errorf("%s", got)
	}
}

func TestRowSizesAndTimes(t *testing.T) {
	t.Parallel()
	for n, want := range map[uint64]string{0: "0", 9999: "9999", 12345: "12.3kB", 999_400: "999kB", 999_600: "1MB", 5e9: "5GB", 7e12: "7TB", 8e15: "8PB"} {
		r := watch.Row{Network: "tcp", Sent: int64(n)}
		if text := r.Text(80); !strings.Contains(text, " "+want+" ") || utf8.RuneCountInString(text) != utf8.RuneCountInString(watch.RowHeading(80)) {
			t.Errorf("%d: %q, want %q", n, text, want)
		}
	}
	for d, want := range map[time.Duration]string{
		40 * time.Millisecond: "0.0s", 59999 * time.Millisecond: "59.9s", 5*time.Minute + 2*time.Second: "5m02s", 3*time.Hour + 5*time.Minute: "3h05m",
	} {
		r := watch.Row{Age: d}
		if text := r.Text(80); !strings.HasSuffix(text, " "+want) {
			t.Errorf("%v: %q", d, text)
		}
	}
}

func TestHeading(t *testing.T) {
	t.Parallel()
	h := watch.Heading{
		Time: began, User: "alice\x1b", UID: 1000, Filter: "port 80", Processes: []string{"12", "the command"},
		Interfaces: []string{"lo", "eth0\x07"}, Method: capture.ByKernel,
	}
	if s := h.String(); s != `connections of user alice\x1b (1000), port 80, process 12, the command, on lo eth0\a` {
		t.Error(s)
	}
	h.Method, h.Ports = capture.ByPort, []uint16{7, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12}
	if s := h.String(); !strings.Contains(s, "of these ports only: 7 1 2 3 4 5 6 8 9 10 and 2 more, on lo") {
		t.Error(s)
	}
	h.Ports, h.Interfaces = nil, []string{"a", "b", "c", "d", "e", "f"}
	if s := h.String(); !strings.HasSuffix(s, "of these ports only: none, on a b c d 2 more interfaces") {
		t.Error(s)
	}
	everyone := watch.Heading{AllUsers: true, Method: capture.Everyone}
	if s := everyone.String(); !strings.HasPrefix(s, "connections of ALL USERS, as root has asked for, on ") {
		t.Error(s)
	}
	if s := (&watch.Heading{User: "bob", UID: 7}).String(); s != "connections of user bob (7), not captured" {
		t.Error(s)
	}
	var out bytes.Buffer
	v := &watch.JSONView{W: &out}
	h.Reason = "because\n"
	if err := v.ShowHeading(&h); err != nil {
		t.Fatal(err)
	}
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line["type"] != "watch" || line["method"] != "port" || line["captured"] != true ||
		line["user"] != `alice\x1b` || line["reason"] != `because\n` {
		t.Errorf("%v: %s", err, out.Bytes())
	}
	out.Reset()
	o := &watch.Overview{Hidden: 1, HiddenPorts: 2, Waiting: 3}
	v.ShowOthers(began, o)
	if got := out.String(); !strings.HasSuffix(got, `"hidden":1,"hidden_waiting":2,"waiting":3}`+"\n") {
		t.Error(got)
	}
}

// Ends finds the sockets of a flow, connected or waiting.
func TestEnds(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	m.handshake()
	var f *flow.Flow
	watched(t, m.file(), &watch.Config{Flow: flow.Config{Ended: func(ended *flow.Flow) { f = ended }}})
	own := func(all ...capture.Connection) string {
		var cookies []string
		for _, c := range watch.Ends(&capture.Connections{Own: all}, f) {
			cookies = append(cookies, string(rune('0'+c.Cookie)))
		}
		return strings.Join(cookies, " ")
	}
	none := netip.AddrPort{}
	anywhere := netip.AddrPortFrom(netip.IPv6Unspecified(), server.Port())
	for name, test := range map[string]struct {
		sockets []capture.Connection
		want    string
	}{
		"nothing":          {nil, ""},
		"both":             {[]capture.Connection{socket(2, "tcp", "", server, client), socket(1, "tcp", "", client, server)}, "1 2"},
		"who waits":        {[]capture.Connection{socket(3, "tcp", "LISTEN", anywhere, none), socket(1, "tcp", "", client, server)}, "1 3"},
		"connected first":  {[]capture.Connection{socket(3, "tcp", "LISTEN", server, none), socket(2, "tcp", "", server, client)}, "2"},
		"another network":  {[]capture.Connection{socket(1, "udp", "", client, server)}, ""},
		"another address":  {[]capture.Connection{socket(1, "tcp", "LISTEN", netip.AddrPortFrom(client.Addr(), server.Port()), none)}, ""},
		"another remote":   {[]capture.Connection{socket(1, "tcp", "", client, client)}, ""},
		"mapped addresses": {[]capture.Connection{socket(1, "tcp", "", netip.AddrPortFrom(netip.AddrFrom16(client.Addr().As16()), client.Port()), server)}, "1"},
	} {
		if got := own(test.sockets...); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

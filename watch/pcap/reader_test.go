package pcap_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"yodel/watch/packet"
	"yodel/watch/pcap"
)

func TestPCAP(t *testing.T) {
	t.Parallel()
	for _, o := range orders {
		for _, c := range []struct {
			magic    uint32
			fraction uint32
			want     time.Time
		}{
			{0xa1b2c3d4, 123_456, at.Truncate(time.Microsecond)},
			{0xa1b23c4d, 123_456_789, at},
		} {
			file := classic(o, c.magic,
				record(o, uint32(at.Unix()), c.fraction, 5, 5, []byte("whole")),
				record(o, uint32(at.Unix()), c.fraction, 4, 100, []byte("part")),
				record(o, uint32(at.Unix()), c.fraction, 4, 2, []byte("more"))) // a length that can't be
			all, r := mustRead(t, file)
			if r.Format() != pcap.PCAP || len(all) != 3 || len(r.Interfaces()) != 1 || r.Interfaces()[0].SnapLen != 262144 {
				t.Fatalf("%v %x: %d packets, %+v", o, c.magic, len(all), r.Interfaces())
			}
			for i, want := range []struct {
				data   string
				length int
			}{{"whole", 5}, {"part", 100}, {"more", 4}} {
				p := all[i]
				if string(p.Data) != want.data || p.Length != want.length || !p.Time.Equal(c.want) ||
					p.Number != int64(i+1) || p.Interface.LinkType != packet.Ethernet {
					t.Errorf("%v %x: %+v", o, c.magic, p)
				}
			}
		}
	}
}

// The upper bits of pcap's link type tell of check sums, and are not part of it.
func TestPCAPLinkType(t *testing.T) {
	t.Parallel()
	o := orders[0]
	file := classic(o, 0xa1b2c3d4, record(o, 1, 1, 1, 1, []byte("x")))
	o.PutUint32(file[20:], 0x24000065)
	all, _ := mustRead(t, file)
	if all[0].Interface.LinkType != packet.Raw {
		t.Errorf("link type %v", all[0].Interface.LinkType)
	}
}

func TestPCAPNG(t *testing.T) {
	t.Parallel()
	micros := uint64(at.UnixMicro())
	for _, o := range orders {
		file := slices.Concat(
			section(o, option(o, 1, "a comment"), option(o, 2, "hardware"), option(o, 3, "os"), option(o, 4, "program")),
			device(o, 1, option(o, 2, "eth0"), option(o, 3, "the first"), option(o, 11, "\x00tcp port 80"), option(o, 12, "Linux"), option(o, 0, "")),
			device(o, 101, option(o, 9, "\x09"), option(o, 2, "tun0"), option(o, 11, "\x01code")),
			enhanced(o, 0, micros, "one", option(o, 1, "first comment"), option(o, 2, string(u32(o, 1))), option(o, 1, "second"), option(o, 4, string(append(u32(o), make([]byte, 8)...)))),
			block(o, 0x0badcafe, []byte("somebody's own")),
			enhanced(o, 1, uint64(at.UnixNano()), "two!", option(o, 2, string(u32(o, 2)))),
			block(o, 3, u32(o, 100), []byte("simple..")),
			block(o, 2, u16(o, 1, 7), u32(o, uint32(at.UnixNano()>>32), uint32(at.UnixNano()), 3, 9), []byte("old\x00")),
			block(o, 2, u16(o, 0, 0xffff), u32(o, 0, 0, 0, 0)),
			block(o, 4, option(o, 1, "\xc0\x00\x02\x01www.a.test\x00a.test\x00"), option(o, 2, string(netip.IPv6Loopback().AsSlice())+"localhost\x00"), option(o, 1, "xx"), option(o, 9, "unknown"), option(o, 0, "")),
			block(o, 5, u32(o, 1, 0, 0), option(o, 2, string(u32(o, uint32(at.UnixNano()>>32), uint32(at.UnixNano())))),
				option(o, 4, string(appendUint64(o, 12))), option(o, 5, string(appendUint64(o, 1))), option(o, 6, "short"), option(o, 9, "12345678")),
		)
		all, r := mustRead(t, file)
		if r.Format() != pcap.PCAPNG || len(all) != 5 {
			t.Fatalf("%v: %d packets", o, len(all))
		}
		if got := r.Section(); got != (pcap.Section{Hardware: "hardware", OS: "os", Application: "program", Comment: "a comment"}) {
			t.Errorf("%+v", got)
		}
		first, second := r.Interfaces()[0], r.Interfaces()[1]
		if first.Name != "eth0" || first.Description != "the first" || first.Filter != "tcp port 80" || first.OS != "Linux" || second.Filter != "" || second.ID != 1 {
			t.Errorf("%+v %+v", first, second)
		}
		for i, want := range []pcap.Packet{
			{Interface: first, Time: at.Truncate(time.Microsecond), Direction: packet.Inbound, Data: []byte("one"), Length: 3, Comments: []string{"first comment", "second"}},
			{Interface: second, Time: at, Direction: packet.Outbound, Data: []byte("two!"), Length: 4},
			{Interface: first, Data: []byte("simple.."), Length: 100},
			{Interface: second, Time: at, Data: []byte("old"), Length: 9, Lost: 7},
			{Interface: first, Time: time.Unix(0, 0).UTC(), Data: []byte{}},
		} {
			want.Number = int64(i + 1)
			if got := fmt.Sprintf("%+v", all[i]); got != fmt.Sprintf("%+v", want) {
				t.Errorf("packet %d:\ngot  %s\nwant %+v", i+1, got, want)
			}
		}
		names := []pcap.Name{{netip.MustParseAddr("192.0.2.1"), "www.a.test"}, {netip.MustParseAddr("192.0.2.1"), "a.test"}, {netip.IPv6Loopback(), "localhost"}}
		if !slices.Equal(r.Names(), names) {
			t.Errorf("names %v", r.Names())
		}
		s := pcap.NoStatistics()
		s.Start, s.Received, s.Dropped = at, 12, 1
		if *second.Statistics != s || first.Statistics != nil {
			t.Errorf("statistics %+v", second.Statistics)
		}
	}
}

func appendUint64(o order, v uint64) []byte { return o.AppendUint64(nil, v) }

// A file may have many sections, each with interfaces and a byte order of its own.
func TestSections(t *testing.T) {
	t.Parallel()
	var file []byte
	for i, o := range []order{orders[0], orders[1], orders[0]} {
		file = append(file, section(o, option(o, 4, fmt.Sprint("program ", i)))...)
		file = append(file, device(o, uint16(100+i))...)
		file = append(file, enhanced(o, 0, uint64(i), "data")...)
	}
	all, r := mustRead(t, file)
	for i, p := range all {
		if p.Interface.ID != i || p.Interface.LinkType != packet.LinkType(100+i) {
			t.Errorf("packet %d is of interface %+v", i, p.Interface)
		}
	}
	if len(all) != 3 || len(r.Interfaces()) != 3 || r.Section().Application != "program 2" {
		t.Errorf("%d packets, %d interfaces, %+v", len(all), len(r.Interfaces()), r.Section())
	}
}

// Units of time are powers of ten or two, from a second on.
func TestTimes(t *testing.T) {
	t.Parallel()
	o := orders[0]
	offset := func(seconds int64) []byte { return option(o, 14, string(appendUint64(o, uint64(seconds)))) }
	for _, c := range []struct {
		resolution byte
		units      uint64
		more       []byte
		want       string // "" is none
	}{
		{0, 10, nil, "1970-01-01T00:00:10Z"},
		{3, 10_250, nil, "1970-01-01T00:00:10.25Z"},
		{9, 10_250_000_001, nil, "1970-01-01T00:00:10.250000001Z"},
		{12, 10_250_000_001_999, nil, "1970-01-01T00:00:10.250000001Z"},
		{19, 1<<63 + 1<<62, nil, "1970-01-01T00:00:01.383505805Z"},
		{20, 1 << 63, nil, "1970-01-01T00:00:00.092233720Z"},
		{28, 1 << 63, nil, "1970-01-01T00:00:00Z"},
		{29, 1 << 63, nil, "1970-01-01T00:00:00Z"},
		{127, 1 << 63, nil, "1970-01-01T00:00:00Z"},
		{0x80, 10, nil, "1970-01-01T00:00:10Z"},
		{0x80 | 10, 10<<10 | 256, nil, "1970-01-01T00:00:10.25Z"},
		{0x80 | 63, 1<<63 | 1<<62, nil, "1970-01-01T00:00:01.5Z"},
		{0x80 | 64, 1 << 63, nil, "1970-01-01T00:00:00.5Z"},
		{0x80 | 65, 1 << 63, nil, "1970-01-01T00:00:00.25Z"},
		{0xff, 1 << 63, nil, "1970-01-01T00:00:00Z"},
		{0, 10, offset(100), "1970-01-01T00:01:50Z"},
		{0, 100, offset(-10), "1970-01-01T00:01:30Z"},
		{0, 253402300799, nil, "9999-12-31T23:59:59Z"},
		{0, 253402300800, nil, ""},
		{0, 1 << 63, nil, ""},
		{0, 10, offset(-11), ""},
		{0, 10, offset(-1 << 63), ""},
		{0, 10, offset(1<<63 - 1), ""},
		{0, 253402300799, offset(1), ""},
	} {
		file := slices.Concat(section(o), device(o, 1, c.more, option(o, 9, string([]byte{c.resolution}))), enhanced(o, 0, c.units, "x"))
		all, _ := mustRead(t, file)
		got := ""
		if !all[0].Time.IsZero() {
			got = all[0].Time.Format(time.RFC3339Nano)
		}
		want := c.want
		if parsed, err := time.Parse(time.RFC3339Nano, want); err == nil {
			want = parsed.Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("%d units of %#x: %q, want %q", c.units, c.resolution, got, want)
		}
	}
}

// What is no capture is said to be none, with what it is, and what to do.
func TestNoCapture(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, head, want string }{
		{"empty", "", "it has 0 bytes"},
		{"three bytes", "\xd4\xc3\xb2", "it has 3 bytes"},
		{"text", "GET / HTTP", "begins with the bytes 47 45 54 20"},
		{"gzip", "\x1f\x8b\x08\x00", "gzip -dc"},
		{"zstd", "\x28\xb5\x2f\xfd", "zstd -dc"},
		{"xz", "\xfd7zX", "xz -dc"},
		{"lz4", "\x04\x22\x4d\x18", "lz4 -dc"},
		{"snoop", "snoop\x00\x00\x00", "editcap"},
		{"Kuznetzov's", "\xa1\xb2\xcd\x34", "modified pcap.*editcap"},
		{"the same, swapped", "\x34\xcd\xb2\xa1", "modified pcap"},
		{"IXIA's", "\x1c\x00\x01\xac", "modified pcap"},
		{"Navtel's", "\xa1\xe2\xcb\x12", "modified pcap"},
	} {
		_, err := pcap.NewReader(strings.NewReader(c.head))
		want, more, _ := strings.Cut(c.want, ".*")
		if !errors.Is(err, pcap.ErrNoCapture) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), more) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	for head, want := range map[string]pcap.Format{
		"\x0a\x0d\x0d\x0a": pcap.PCAPNG, "\xa1\xb2\xc3\xd4": pcap.PCAP, "\x4d\x3c\xb2\xa1rest": pcap.PCAP,
	} {
		if got, err := pcap.FormatOf([]byte(head)); got != want || err != nil {
			t.Errorf("%x: %v, %v", head, got, err)
		}
	}
	if s := fmt.Sprint(pcap.PCAP, pcap.PCAPNG, pcap.Format(9)); s != "pcap pcapng format(9)" {
		t.Error(s)
	}
}

// Lengths that can't be are not believed: the error says where, and what came before is
// handed out.
func TestDamaged(t *testing.T) {
	t.Parallel()
	o := orders[0]
	before := slices.Concat(section(o), device(o, 1), enhanced(o, 0, 1, "good"))
	oneByte := func(file []byte, at int, value byte) []byte {
		file = slices.Clone(file)
		file[at] = value
		return file
	}
	for _, c := range []struct {
		name    string
		file    []byte
		packets int
		want    string
	}{
		{"pcap: a packet of 4 GiB", classic(o, 0xa1b2c3d4, record(o, 0, 0, 1<<32-1, 1, nil)), 0, "at byte 24: a packet of 4294967295 bytes"},
		{"pcap: another version", oneByte(classic(o, 0xa1b2c3d4), 4, 3), -1, "version 3.4 is not 2.4"},
		{"a block shorter than its header", slices.Concat(before, u32(o, 6, 8, 8)), 1, "a length of 8 bytes"},
		{"a block of no length", slices.Concat(before, u32(o, 6, 0, 0)), 1, "a length of 0 bytes"},
		{"a length that is no multiple of four", slices.Concat(before, u32(o, 6, 33, 0)), 1, "a length of 33 bytes"},
		{"a packet's block of 4 GiB", slices.Concat(before, u32(o, 6, 1<<32-4, 0)), 1, "a length of 4294967292 bytes"},
		{"two lengths", oneByte(before, len(before)-4, 99), 0, "at its beginning and 99 at its end"},
		{"more data than block", slices.Concat(before, block(o, 6, u32(o, 0, 0, 0, 5, 5), []byte("four"))), 1, "a packet of 5 bytes"},
		{"much more data than block", slices.Concat(before, block(o, 6, u32(o, 0, 0, 0, 1<<32-1, 5), []byte("four"))), 1, "a packet of 4294967295 bytes"},
		{"a packet's block without a packet", slices.Concat(before, block(o, 6, u32(o, 0, 0, 0, 5))), 1, "a packet's block of 28 bytes"},
		{"an unknown interface", slices.Concat(before, enhanced(o, 1, 0, "x")), 1, "interface 1, of which nothing"},
		{"no interface", slices.Concat(section(o), block(o, 3, u32(o, 1), []byte("x"))), 0, "interface 0, of which nothing"},
		{"a simple packet without a length", slices.Concat(before, block(o, 3)), 1, "a simple packet's block of 12 bytes"},
		{"half an interface", slices.Concat(before, block(o, 1, u32(o, 1))), 1, "an interface of 4 bytes"},
		{"statistics of an unknown interface", slices.Concat(before, block(o, 5, u32(o, 7, 0, 0))), 1, "interface 7, of which nothing"},
		{"half of statistics", slices.Concat(before, block(o, 5, u32(o, 0, 0))), 1, "statistics of 8 bytes"},
		{"a section in no order", oneByte(section(o), 8, 0), -1, "a section without a byte order"},
		{"a section of version 2", oneByte(section(o), 12, 2), -1, "version 2.0 is not 1"},
		{"a short section", slices.Concat(u32(o, 0x0a0d0d0a, 24, 0x1a2b3c4d), make([]byte, 12)), -1, "a length of 24 bytes"},
		{"a section of 4 GiB", slices.Concat(u32(o, 0x0a0d0d0a, 1<<32-4, 0x1a2b3c4d), make([]byte, 20)), -1, "a length of 4294967292 bytes"},
		{"too many interfaces", slices.Concat(section(o), bytes.Repeat(device(o, 1), 4097)), 0, "more than 4096 interfaces"},
	} {
		all, _, err := readAll(t, bytes.NewReader(c.file))
		damaged, ok := errors.AsType[*pcap.FormatError](err)
		if !ok || !strings.Contains(damaged.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if len(all) != max(c.packets, 0) {
			t.Errorf("%s: %d packets, want %d", c.name, len(all), c.packets)
		}
	}
}

// Cut anywhere, a file gives its whole packets, and then says that it was cut, how much
// is missing, and of what.
func TestTruncated(t *testing.T) {
	t.Parallel()
	o := orders[0]
	big := strings.Repeat("x", 70_000) // more than the buffer
	ng := [][]byte{section(o), device(o, 1), enhanced(o, 0, 1, "one"), block(o, 77, []byte("unknown")), enhanced(o, 0, 2, big), enhanced(o, 0, 3, "three")}
	old := [][]byte{classic(o, 0xa1b2c3d4), record(o, 1, 1, 3, 3, []byte("one")), record(o, 1, 1, 70_000, 70_000, []byte(big)), record(o, 1, 1, 5, 5, []byte("three"))}
	for name, c := range map[string]struct {
		parts   [][]byte
		packets []int // before each part
	}{
		"pcapng": {ng, []int{-1, 0, 0, 1, 1, 2}}, "pcap": {old, []int{-1, 0, 1, 2}},
	} {
		start := 0
		for i, part := range c.parts {
			for _, cut := range []int{1, 3, 4, 7, 8, 11, 12, 15, 16, 20, 66_000, len(part) - 1} {
				if cut >= len(part) || start+cut < pcap.HeadLen {
					continue
				}
				file := slices.Concat(slices.Concat(c.parts[:i]...), part[:cut])
				all, _, err := readAll(t, bytes.NewReader(file))
				short, ok := errors.AsType[*pcap.TruncatedError](err)
				if !ok || short.Offset != int64(start) || short.Packets != int64(max(c.packets[i], 0)) || len(all) != max(c.packets[i], 0) {
					t.Fatalf("%s, cut after %d bytes of part %d: %d packets, %v", name, cut, i, len(all), err)
				}
				if !strings.Contains(err.Error(), fmt.Sprintf("%d bytes are missing of what begins at byte %d", short.Missing, start)) {
					t.Error(err)
				}
				if short.Missing <= 0 || short.Missing > int64(len(part)-cut) {
					t.Errorf("%s, cut after %d bytes of part %d: %v, want at most %d missing", name, cut, i, err, len(part)-cut)
				}
			}
			start += len(part)
		}
	}
}

// How the bytes come makes no difference.
func TestFraming(t *testing.T) {
	t.Parallel()
	o := orders[1]
	file := slices.Concat(section(o), device(o, 1), enhanced(o, 0, 1, "one", option(o, 1, "comment")), block(o, 99, make([]byte, 1000)), enhanced(o, 0, 2, strings.Repeat("x", 100_000)), enhanced(o, 0, 3, "three"))
	want, _ := mustRead(t, file)
	for name, in := range map[string]io.Reader{
		"one byte": iotest.OneByteReader(bytes.NewReader(file)), "half": iotest.HalfReader(bytes.NewReader(file)),
		"the end with the last bytes": iotest.DataErrReader(bytes.NewReader(file)),
	} {
		all, _, err := readAll(t, in)
		same := slices.EqualFunc(all, want, func(a, b pcap.Packet) bool {
			return string(a.Data) == string(b.Data) && a.Time.Equal(b.Time) && slices.Equal(a.Comments, b.Comments)
		})
		if err != nil || !same {
			t.Errorf("%s: %d packets, %v", name, len(all), err)
		}
	}
}

// An error of the file is no end of the capture.
func TestReadError(t *testing.T) {
	t.Parallel()
	o := orders[0]
	broken := errors.New("the disk is gone")
	file := slices.Concat(section(o), device(o, 1), enhanced(o, 0, 1, "one"))
	all, _, err := readAll(t, io.MultiReader(bytes.NewReader(file), iotest.ErrReader(broken)))
	if len(all) != 1 || !errors.Is(err, broken) {
		t.Errorf("%d packets, %v", len(all), err)
	}
	for _, n := range []int{0, 2, 10, 20, 40} {
		if _, _, err := readAll(t, io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	if _, _, err := readAll(t, io.MultiReader(bytes.NewReader(slices.Concat(file, u32(o, 99, 4096))), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("inside of what is skipped: %v", err)
	}
}

// Names, and texts, are bounded however many a file has.
func TestNamesAreBounded(t *testing.T) {
	t.Parallel()
	o := orders[0]
	long := strings.Repeat("n", 1000)
	names := block(o, 4, bytes.Repeat(option(o, 1, "\xc0\x00\x02\x01"+long+"\x00"), 500))
	file := slices.Concat(section(o, option(o, 1, long)), device(o, 1, option(o, 2, long)), bytes.Repeat(names, 20))
	_, r := mustRead(t, file)
	if n := len(r.Names()); n == 0 || n > 1000 || len(r.Names()[0].Name) != 256 {
		t.Errorf("%d names are kept", n)
	}
	if len(r.Interfaces()[0].Name) != 256 || len(r.Section().Comment) != 256 {
		t.Errorf("a text of %d bytes is kept", len(r.Interfaces()[0].Name))
	}
}

// A simple packet is no longer than what its interface keeps.
func TestSimplePacket(t *testing.T) {
	t.Parallel()
	o := orders[0]
	file := slices.Concat(section(o), block(o, 1, u16(o, 1, 0), u32(o, 6)), block(o, 3, u32(o, 9), []byte("123456\x00\x00")), block(o, 3, u32(o, 3), []byte("123\x00")))
	all, _ := mustRead(t, file)
	if len(all) != 2 || string(all[0].Data) != "123456" || all[0].Length != 9 || string(all[1].Data) != "123" || !all[0].Time.IsZero() {
		t.Errorf("%+v", all)
	}
}

// Options that break off end the list, and the packet stays.
func TestBrokenOptions(t *testing.T) {
	t.Parallel()
	o := orders[0]
	file := slices.Concat(section(o), device(o, 1),
		enhanced(o, 0, 1, "x", option(o, 1, "good"), u16(o, 1, 200), []byte("bad!")),
		enhanced(o, 0, 1, "y", option(o, 2, "\x01"), option(o, 4, "\x01"), option(o, 0, ""), option(o, 1, "behind the end")),
		enhanced(o, 0, 1, "z", option(o, 2, string(u32(o, 3)))))
	all, _ := mustRead(t, file)
	if len(all) != 3 || !slices.Equal(all[0].Comments, []string{"good"}) || all[1].Comments != nil || all[1].Direction != packet.Unknown || all[2].Direction != packet.Unknown {
		t.Errorf("%+v", all)
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	o := orders[0]
	data := strings.Repeat("x", 1400)
	for name, file := range map[string][]byte{
		"pcap":   append(classic(o, 0xa1b2c3d4), bytes.Repeat(record(o, 1, 1, 1400, 1400, []byte(data)), 2000)...),
		"pcapng": slices.Concat(section(o), device(o, 1), bytes.Repeat(enhanced(o, 0, 1, data, option(o, 2, "\x01\x00\x00\x00")), 2000)),
	} {
		r, err := pcap.NewReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(1000, func() {
			if _, err := r.Next(); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a packet", name, n)
		}
	}
}

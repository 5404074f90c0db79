package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"yodel/watch/packet"
	"yodel/watch/pcap"
	"yodel/yodeltest"
)

// echoCapture is a capture of a short talk, an ICMP error and a lost datagram, some of it
// sent again.
func echoCapture(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w := pcap.NewWriter(&out, nil)
	n, err := w.AddInterface(&pcap.Interface{LinkType: packet.Raw, Name: "lo"})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	client, server := netip.MustParseAddrPort("127.0.0.1:51213"), netip.MustParseAddrPort("127.0.0.1:15213")
	write := func(data []byte) {
		now = now.Add(time.Millisecond)
		p := &pcap.Packet{Time: now, Direction: packet.Outbound, Data: data, Comments: []string{"seen"}}
		if err := w.WritePacket(n, p); err != nil {
			t.Fatal(err)
		}
	}
	segment := func(fromServer bool, flags packet.TCPFlags, seq, ack, window uint32, payload string) {
		from, to, base, other := client, server, uint32(1000), uint32(9000)
		if fromServer {
			from, to, base, other = to, from, other, base
		}
		b := binary.BigEndian.AppendUint16(nil, from.Port())
		b = binary.BigEndian.AppendUint16(b, to.Port())
		b = binary.BigEndian.AppendUint32(b, base+seq)
		b = binary.BigEndian.AppendUint32(b, other+ack)
		b = binary.BigEndian.AppendUint16(b, 5<<12|uint16(flags))
		b = binary.BigEndian.AppendUint16(b, uint16(window))
		write(ip4(6, from.Addr(), to.Addr(), append(append(b, 0, 0, 0, 0), payload...)))
	}
	segment(false, packet.SYN, 0, 0, 1000, "")
	segment(true, packet.SYN|packet.ACK, 0, 1, 1000, "")
	segment(false, packet.ACK, 1, 1, 1000, "")
	segment(false, packet.ACK, 1, 1, 1000, "hello\n")
	segment(false, packet.ACK, 7, 1, 1000, "again\n")
	segment(false, packet.ACK, 1, 1, 1000, "hello\n")
	now = now.Add(time.Second)
	segment(false, packet.ACK, 7, 1, 1000, "again\n")
	segment(true, packet.ACK, 1, 13, 0, "")
	segment(true, packet.ACK, 1, 13, 0, "")
	segment(true, packet.ACK, 1, 13, 500, "")
	segment(false, packet.ACK, 20, 1, 1000, "behind a gap")
	segment(true, packet.RST|packet.ACK, 1, 13, 0, "")
	question := ip4(17, client.Addr(), server.Addr(), append(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, 5353), 53), 0, 9, 0, 0, '?'))
	write(question)
	write(ip4(1, server.Addr(), client.Addr(), append([]byte{3, 4, 0, 0, 0, 0, 5, 0x78}, question...)))
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func ip4(protocol byte, from, to netip.Addr, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	return append(b, payload...)
}

func saveCapture(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "capture.pcapng")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What watch prints is in docs/json.md, and nothing else is.
func TestWatchJSONIsDocumented(t *testing.T) {
	t.Parallel()
	s, _ := readSchema(t)
	out := runYodel(t, "", "watch", "--json", "--read", saveCapture(t, echoCapture(t))).out
	got := s.check(t, out, "watch")
	live := map[string]bool{"watch": true, "connection": true, "others": true} // see TestWatchLiveJSONIsDocumented
	for _, typ := range typesOf(s, "watch") {
		if !got[typ] && !live[typ] {
			t.Errorf("no line of type %s came", typ)
		}
	}
	wantFields(t, s, "watch", "packetLine", "icmpLine", "flowLine", "resetLine", "icmpSum", "halfLine", "countLine", "rttLine", "captureLine", "rowLine", "processLine", "othersLine", "headingLine")
}

// What is written into a file that was there before is for its owner alone, too, and
// nothing of what was in it stays.
func TestWatchWritesInPrivate(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		yodeltest.Skip(t, "files have no such modes", "run it elsewhere")
	}
	dir, capture := t.TempDir(), saveCapture(t, echoCapture(t))
	args := []string{"watch", "--read", capture}
	old := bytes.Repeat([]byte("old"), 1<<16)
	for _, flag := range []string{"--write", "--html", "--output"} {
		file := filepath.Join(dir, flag[2:])
		if err := os.WriteFile(file, old, 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, flag, file)
	}
	wantStatus(t, runYodel(t, "", args...), 0)
	for i := 4; i < len(args); i += 2 {
		info, err := os.Stat(args[i])
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() == 0 || info.Size() > int64(len(old)/2) {
			t.Errorf("%s: %v, %d bytes, %v", args[i], info.Mode(), info.Size(), err)
		}
	}
}

// A file of somebody else's is left alone: its owner could read what is written.
func TestWatchLeavesOthersFiles(t *testing.T) {
	t.Parallel()
	yodeltest.NeedRoot(t)
	file := filepath.Join(t.TempDir(), "theirs")
	if err := os.WriteFile(file, []byte("theirs"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	r := runYodel(t, "", "watch", "--read", saveCapture(t, echoCapture(t)), "--write", file)
	wantStatus(t, r, 1, "it belongs to 12345, who could read what is written: remove it, or write to another file")
	if text, err := os.ReadFile(file); err != nil || string(text) != "theirs" {
		t.Errorf("%q, %v", text, err)
	}
}

// The name of a file says nothing to the terminal, not even in an error of the system's.
func TestFileNamesAreEscaped(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t) // it has /dev/full
	capture, hostile := saveCapture(t, echoCapture(t)), "\x1b[31m\nyodel: all is well"
	full := filepath.Join(t.TempDir(), hostile)
	if err := os.Symlink("/dev/full", full); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"watch", "--read", hostile},
		{"watch", "--read", capture, "--write", filepath.Join("nowhere", hostile)},
		{"watch", "--read", capture, "--html", filepath.Join("nowhere", hostile)},
		{"watch", "--read", capture, "--write", full},
		{"story", hostile},
		{"story", capture, "--html", filepath.Join("nowhere", hostile)},
		{"load", "compare", hostile, capture},
		{"call", "--trace", filepath.Join("nowhere", hostile), "localhost", "7"},
		{"serve", "--trace", filepath.Join("nowhere", hostile), "echo@127.0.0.1:0"},
	} {
		r := runYodel(t, "", args...)
		wantStatus(t, r, 1, `\x1b[31m\nyodel: all is well: no `)
		if strings.Contains(r.err, "\x1b") || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%q: %q", args, r.err)
		}
	}
}

// A disk that is full is said once, and of the file that it is about.
func TestWatchSaysOnceThatADiskIsFull(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t) // it has /dev/full
	for _, flag := range []string{"--write", "--html", "--output"} {
		r := runYodel(t, "", "watch", "--read", saveCapture(t, echoCapture(t)), flag, "/dev/full")
		wantStatus(t, r, 1)
		if want := "yodel: write /dev/full: no space left on device\n"; r.err != want {
			t.Errorf("%s: %q, want %q", flag, r.err, want)
		}
	}
}

// The program follows a file that grows, shows what is whole, and ends well when it is
// told to.
func TestWatchFollows(t *testing.T) {
	t.Parallel()
	whole := echoCapture(t)
	path := saveCapture(t, whole[:len(whole)/2])
	cmd := exec.Command(program(t), "watch", "--read", path, "--follow", "--text", "0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	shown := &lineReader{in: out}
	shown.until(t, "SYN: connect()")
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	file.Write(whole[len(whole)/2 : len(whole)-5])
	shown.until(t, "RST from the server")
	if runtime.GOOS == "windows" {
		return
	}
	cmd.Process.Signal(syscall.SIGTERM)
	rest, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil || complaints.String() != "" || !strings.Contains(string(rest), "reset by server") {
		t.Errorf("%v: %s: %s", err, &complaints, rest)
	}
}

// When nobody looks any more, the program ends well, and what it records is whole.
func TestWatchIntoAClosedPipe(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	copied := filepath.Join(t.TempDir(), "copy.pcapng")
	cmd := exec.Command(program(t), "watch", "--read", saveCapture(t, echoCapture(t)), "--write", copied)
	var complaints strings.Builder
	cmd.Stdout, cmd.Stderr = w, &complaints
	if err := cmd.Run(); err != nil || complaints.String() != "" {
		t.Errorf("%v: %s", err, &complaints)
	}
	if out := runYodel(t, "", "watch", "--summary", "--read", copied).out; !strings.Contains(out, "14 packets") {
		t.Error(out)
	}
}

// lineReader reads a program's output up to some text.
type lineReader struct {
	in   io.Reader
	seen []byte
}

func (r *lineReader) until(t *testing.T, text string) {
	t.Helper()
	buf := make([]byte, 4096)
	for !bytes.Contains(r.seen, []byte(text)) {
		n, err := r.in.Read(buf)
		r.seen = append(r.seen, buf[:n]...)
		if err != nil {
			t.Fatalf("%v before %q came: %s", err, text, r.seen)
		}
	}
}

// A capture of any size is read in 64 MiB by the real program: here many packets, each
// of another connection, from a pipe.
func TestWatchMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // that is where a process tells how much it had
	}
	cmd := exec.Command(program(t), "watch", "--read", "-", "--summary")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	count := &lineCounter{}
	cmd.Stdout, cmd.Stderr = count, count
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	const size, number = 20_000, 9_000
	head := binary.BigEndian.AppendUint32(nil, 0xa1b2c3d4)
	in.Write(append(head, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 101))
	record := make([]byte, 16, 16+size)
	payload := append([]byte{0, 0, 0, 80, 0, 0, 0, 9, 0, 0, 0, 1, 0x50, 0x10, 1, 1, 0, 0, 0, 0}, make([]byte, size-40)...)
	record = append(record, ip4(6, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), payload)...)
	binary.BigEndian.PutUint32(record[8:], size)
	binary.BigEndian.PutUint32(record[12:], size)
	for i := range uint32(number) {
		binary.BigEndian.PutUint32(record[16+12:], i*2654435761) // another client
		if _, err := in.Write(record); err != nil {
			t.Fatal(err)
		}
	}
	most := peakMemory(t, cmd.Process.Pid)
	in.Close()
	if err := cmd.Wait(); err != nil || count.lines < 3*number {
		t.Errorf("%v, %d lines", err, count.lines)
	}
	if t.Logf("at most %d KiB", most); most > 64<<10 {
		t.Errorf("it took %d KiB", most)
	}
}

type lineCounter struct{ lines int }

func (c *lineCounter) Write(p []byte) (int, error) {
	c.lines += bytes.Count(p, []byte("\n"))
	return len(p), nil
}

// peakMemory is how much memory a process had at most, in KiB.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(after)
	n, err := strconv.Atoi(cmp.Or(append(fields, "none")[0], "none"))
	if err != nil {
		t.Fatalf("%v: %s", err, status)
	}
	return n
}

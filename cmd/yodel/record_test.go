package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"yodel/trace"
	"yodel/yodeltest"
)

// A call and its server are kept, and told as one story; --no-record keeps nothing.
func TestStoryLast(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := []string{"XDG_STATE_HOME=" + dir}
	yodel := func(args ...string) result {
		t.Helper()
		p := startWith(t, env, program(t), args...)
		if args[0] == "call" {
			p.say(t, "hello\n")
			p.await(t, &p.out, "HELLO\n")
		}
		p.in.Close()
		status := p.wait(t)
		return result{status: status, out: p.out.String(), err: p.err.String()}
	}
	wantStatus(t, yodel("story", "last"), 1, "nothing is kept", "for example\n")
	s := serveWith(t, env, "upper@127.0.0.1:0")
	wantStatus(t, yodel("call", "--no-record", s.address(0)), 0)
	wantStatus(t, yodel("call", s.address(0)), 0)
	s.stop(t)
	r := yodel("story", "last")
	wantStatus(t, r, 0)
	for _, want := range []string{"seen at both ends", "accept() = ", "connect()", "verdict: "} {
		if strings.Count(r.out, want) != 1 {
			t.Errorf("not one %q in\n%s", want, r.out)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "yodel", recentDir, "*.jsonl"))
	if len(files) != 2 || err != nil {
		t.Errorf("%d files are kept, not one of the server and one of a call: %v", len(files), err)
	}
	for _, name := range append(files, filepath.Dir(files[0])) {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v: others may read it", name, info.Mode(), err)
		}
	}
}

// The address of a server is called, and the call told.
func TestStoryOfACall(t *testing.T) {
	t.Parallel()
	s := serve(t, "daytime@127.0.0.1:0")
	r := runYodel(t, "", "story", s.address(0))
	wantStatus(t, r, 0)
	wants := []string{"both ends", "SYN, ACK", "connect()", "read() = ", "verdict: "}
	if strings.Contains(r.out, "packets were not watched") {
		wants = []string{"one-sided", "connect()", "read() = ", "verdict: cannot tell", "to tell:"}
	}
	for _, want := range wants {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
}

// A call that was watched is kept with its packets; --no-record keeps none.
func TestStoryOfAWatchedCall(t *testing.T) {
	t.Parallel()
	yodeltest.NeedLinux(t)
	yodeltest.NeedRoot(t)
	dir := t.TempDir()
	yodel := func(args ...string) result {
		t.Helper()
		p := startWith(t, []string{"XDG_STATE_HOME=" + dir}, program(t), args...)
		if args[0] == "call" {
			p.say(t, "hello\n")
		}
		p.in.Close()
		status := p.wait(t)
		return result{status: status, out: p.out.String(), err: p.err.String()}
	}
	s := serve(t, "echo@127.0.0.1:0")
	wantStatus(t, yodel("call", "--watch", "--no-record", s.address(0)), 0)
	if files, _ := filepath.Glob(filepath.Join(dir, "yodel", recentDir, "*")); len(files) != 0 {
		t.Errorf("--no-record has kept %q", files)
	}
	wantStatus(t, yodel("call", "--watch", s.address(0)), 0)
	r := yodel("story", "last")
	wantStatus(t, r, 0)
	for _, want := range []string{"both ends", "SYN, ACK", "connect()", "shutdown()", "FIN, ACK", "verdict: "} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
}

// A ring goes on in a new file when one is full, and each file is a whole trace.
func TestRingOfRecentTraces(t *testing.T) {
	t.Parallel()
	r := &ring{dir: t.TempDir()}
	if err := r.next(); err != nil {
		t.Fatal(err)
	}
	header := []byte(`{"type":"trace","version":1,"clock":"x"}` + "\n")
	line := fmt.Appendf(nil, `{"type":"note","text":%q}`+"\n", strings.Repeat("x", 1<<20))
	r.Write(header)
	for range 9 {
		r.Write(line)
	}
	r.close()
	files := recent(r.dir)
	if len(files) != 3 {
		t.Errorf("%d files", len(files))
	}
	lines := 0
	for _, f := range files {
		text, err := os.ReadFile(f.path)
		if err != nil || !bytes.HasPrefix(text, header) || f.size > recentFileSize {
			t.Errorf("%s: %d bytes, %v", f.path, f.size, err)
		}
		lines += bytes.Count(text, []byte("note"))
	}
	if lines != 9 {
		t.Errorf("%d of 9 lines", lines)
	}
	sweepRecent(r.dir, files[0].size)
	if left := recent(r.dir); len(left) != 1 || left[0].path != files[0].path {
		t.Errorf("%v is left of %v", left, files)
	}
	os.RemoveAll(r.dir)
	r.next()
	if n, err := r.Write(line); n != len(line) || err != nil {
		t.Errorf("without a place: %d, %v", n, err)
	}
	if (*recorder)(nil).sink() != nil || (*recorder)(nil).close() != nil {
		t.Error("a recorder that is off does something")
	}
}

// What there is much of is not kept: only the first read and the first write.
func TestRecorderLeavesOut(t *testing.T) {
	t.Parallel()
	r := &ring{dir: t.TempDir()}
	if err := r.next(); err != nil {
		t.Fatal(err)
	}
	rec := &recorder{trace.NewWriter(r), r}
	for _, e := range []trace.Event{
		{Op: trace.Read, Bytes: 5, In: 5},
		{Op: trace.Read, Bytes: 5, In: 10},
		{Op: trace.Message, Bytes: 5},
		{Op: trace.Write, Bytes: 5, Out: 5},
		{Op: trace.Write, Bytes: 5, Out: 10},
		{Op: trace.Close, In: 10, Out: 10},
	} {
		e.Conn, e.Time = trace.NewID(), time.Now()
		rec.Emit(&e)
	}
	name := r.file.Name()
	rec.close()
	text, err := os.ReadFile(name)
	if n := bytes.Count(text, []byte("\n")); n != 4 || err != nil {
		t.Errorf("%d lines, not a header, read, write and close: %v\n%s", n, err, text)
	}
}

// What a recorder costs its process: of an echo on a connection that stays, which is a
// message, and of the five events that each connection has.
func BenchmarkRecorder(b *testing.B) {
	r := &ring{dir: b.TempDir()}
	if err := r.next(); err != nil {
		b.Fatal(err)
	}
	rec := &recorder{trace.NewWriter(r), r}
	defer rec.close()
	e := &trace.Event{Conn: trace.NewID(), Side: trace.Server, Time: time.Now(), Network: "tcp", Service: "echo", FD: 9, Bytes: 64, In: 64000, Out: 64000}
	b.Run("echo", func(b *testing.B) {
		for b.Loop() {
			e.Op = trace.Message
			rec.Emit(e)
		}
	})
	b.Run("connection", func(b *testing.B) {
		for b.Loop() {
			for _, op := range []trace.Op{trace.Accept, trace.Read, trace.Write, trace.EOF, trace.Close} {
				e.Op, e.In, e.Out = op, 64, 64
				rec.Emit(e)
			}
		}
	})
}

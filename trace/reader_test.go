package trace_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"yodel/trace"
)

func TestReaderTakesOtherLines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, line string
		check      func(e trace.Event) bool
	}{
		{"an unknown type", `{"type":"listening","local":"127.0.0.1:10007"}`, func(e trace.Event) bool {
			return e.Op == "listening" && e.Local.String() == "127.0.0.1:10007"
		}},
		{"unknown fields", `{"type":"note","color":{"r":[1,2]},"version":"x","pid":"y","text":"t"}`, func(e trace.Event) bool {
			return e.Op == trace.Note && e.Text == "t"
		}},
		{"another time zone", `{"type":"note","time":"2025-06-01T14:00:00+02:00"}`, func(e trace.Event) bool {
			return e.Time == time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)
		}},
		{"nulls", `{"type":"note","conn":null,"took_us":null,"local":null,"text":null}`, func(e trace.Event) bool {
			return e.Conn.IsZero() && e.Took == 0 && !e.Local.IsValid() && e.Text == ""
		}},
		{"empty text", `{"type":"note","conn":"","local":"","error":""}`, func(e trace.Event) bool {
			return e.Conn.IsZero() && !e.Local.IsValid() && e.Err == nil
		}},
		{"blanks around", " \t{ \"type\" : \"note\" }\r", func(e trace.Event) bool { return e.Op == trace.Note }},
		{"a whole number of microseconds", `{"type":"note","took_us":5}`, func(e trace.Event) bool { return e.Took == 5000 }},
		{"one decimal", `{"type":"note","took_us":0.5}`, func(e trace.Event) bool { return e.Took == 500 }},
		{"more decimals are rounded", `{"type":"note","took_us":0.1236}`, func(e trace.Event) bool { return e.Took == 124 }},
		{"an exponent", `{"type":"note","took_us":1.5e3}`, func(e trace.Event) bool { return e.Took == 1500*time.Microsecond }},
		{"a backslash that is no escape", `{"type":"note","text":"C:\\qux\\"}`, func(e trace.Event) bool { return e.Text == `C:\qux\` }},
		{"text that JSON alone has escaped", `{"type":"note","text":"a\u001bb\u00e9"}`, func(e trace.Event) bool { return e.Text == "a\x1bbé" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, end := range []string{"\n", ""} {
				r := trace.NewReader(strings.NewReader(c.line + end))
				e, err := r.Next()
				if err != nil || !c.check(e) {
					t.Errorf("%s: %+v, %v", c.line, e, err)
				}
				if _, err := r.Next(); err != io.EOF {
					t.Errorf("then %v, want EOF", err)
				}
			}
		})
	}
}

func TestReaderRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, line, says string }{
		{"no JSON", `accept 7`, "invalid character"},
		{"cut short", `{"type":"note"`, "unexpected end"},
		{"two on one line", `{"type":"note"}{"type":"note"}`, "after top-level value"},
		{"no object", `[1,2]`, "cannot unmarshal"},
		{"null", `null`, `no "type"`},
		{"no type", `{"text":"x"}`, `no "type"`},
		{"a type that is no text", `{"type":7}`, "cannot unmarshal"},
		{"a bad name of a connection", `{"type":"note","conn":"x"}`, "eight hex digits"},
		{"a bad address", `{"type":"note","local":"localhost"}`, "not an ip:port"},
		{"a bad time", `{"type":"note","time":"noon"}`, "noon"},
		{"a number that is text", `{"type":"read","bytes":"7"}`, "cannot unmarshal"},
		{"a number that is too large", `{"type":"read","bytes":1e99}`, "cannot unmarshal"},
		{"a duration that is text", `{"type":"read","took_us":"7"}`, "no duration"},
		{"a duration that is too long", `{"type":"read","took_us":1e16}`, "no duration"},
		{"a duration beyond all numbers", `{"type":"read","took_us":-1e999}`, "no duration"},
		{"a later version", `{"type":"trace","version":2}`, "version 2: this program reads version 1"},
		{"no version", `{"type":"trace"}`, "version 0"},
		{"a version that is text", `{"type":"trace","version":"1"}`, "cannot unmarshal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := trace.NewReader(strings.NewReader("\n" + c.line + "\n" + `{"type":"note"}` + "\n"))
			_, err := r.Next()
			var bad *trace.LineError
			if !errors.As(err, &bad) || bad.Line != 2 || !strings.Contains(err.Error(), "line 2: ") {
				t.Fatalf("%s: %v, want an error that names line 2", c.line, err)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q in it", c.line, err, c.says)
			}
			e, err := r.Next()
			if e.Op != trace.Note || err != nil || r.Line() != 3 {
				t.Errorf("the next line: %v, %v, line %d", e.Op, err, r.Line())
			}
			check(t, "header", r.Header(), trace.FileHeader{})
		})
	}
}

func TestReaderErrorsAreSafeAndShort(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		`{"type":"note","conn":"` + strings.Repeat("x", 9999) + `"}`,
		`{"type":"note","took_us":"` + strings.Repeat("\\u001b", 999) + `"}`,
		"{\"type\":\"note\",\"time\":\"\u202e\"}",
	} {
		_, err := trace.NewReader(strings.NewReader(line + "\n")).Next()
		if err == nil {
			t.Errorf("%.40s: no error", line)
			continue
		}
		if s := err.Error(); len(s) > 300 || strings.ContainsAny(s, "\x1b\u202e") {
			t.Errorf("error of %d bytes: %q", len(s), s)
		}
	}
}

func TestReaderUnfinishedLine(t *testing.T) {
	t.Parallel()
	const whole = `{"type":"note","text":"x"}`
	for cut := 1; cut < len(whole); cut++ {
		r := trace.NewReader(strings.NewReader(whole + "\n" + whole[:cut]))
		if e, err := r.Next(); e.Op != trace.Note || err != nil {
			t.Errorf("first line: %v, %v", e.Op, err)
		}
		_, err := r.Next()
		var bad *trace.LineError
		if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &bad) || bad.Line != 2 {
			t.Errorf("cut after %d bytes: %v", cut, err)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("then: %v, want EOF", err)
		}
	}
}

func TestReaderBoundsLines(t *testing.T) {
	t.Parallel()
	const start, end = `{"type":"note","text":"`, "\"}\n"
	fill := strings.Repeat("x", trace.MaxLine-len(start)-len(end))
	for _, c := range []struct {
		name, text string
		end        string
		ok         bool
	}{
		{"the longest", fill, end, true},
		{"the longest, at the end of the file", fill, `" }`, true},
		{"one byte more", fill + "x", end, false},
		{"one byte more, at the end of the file", fill + "x", end[:2] + " ", false},
		{"many more", fill + fill + fill, end, false},
		{"longer than the buffer only", fill[:1<<17], end, true},
	} {
		in := "\n" + start + c.text + c.end
		last := strings.HasSuffix(in, "\n")
		if last {
			in += "\n" + `{"type":"eof"}`
		}
		r := trace.NewReader(iotest.HalfReader(strings.NewReader(in)))
		e, err := r.Next()
		if c.ok && (err != nil || e.Text != c.text) || !c.ok && !errors.Is(err, trace.ErrLineTooLong) {
			t.Errorf("%s: %v", c.name, err)
		}
		if !c.ok && !strings.Contains(err.Error(), "line 2: line too long: the most is 1048576 bytes") {
			t.Errorf("%s: %v", c.name, err)
		}
		if last {
			e, err = r.Next()
			if e.Op != trace.EOF || err != nil || r.Line() != 4 {
				t.Errorf("%s, the line behind it: %v, %v, line %d", c.name, e.Op, err, r.Line())
			}
		}
		if _, err = r.Next(); err != io.EOF {
			t.Errorf("%s, the end: %v", c.name, err)
		}
	}
}

func TestReadThatFails(t *testing.T) {
	t.Parallel()
	disk := errors.New("input/output error")
	for _, rest := range []string{"", `{"type":"no`} {
		r := trace.NewReader(io.MultiReader(strings.NewReader("{\"type\":\"note\"}\n"+rest), iotest.ErrReader(disk)))
		if e, err := r.Next(); e.Op != trace.Note || err != nil {
			t.Errorf("before: %v, %v", e.Op, err)
		}
		if rest != "" {
			if _, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("the piece: %v", err)
			}
		}
		for range 2 {
			if _, err := r.Next(); !errors.Is(err, disk) || err.Error() != "trace: read line 2: input/output error" {
				t.Errorf("after: %v", err)
			}
		}
	}
}

func TestReaderHeaders(t *testing.T) {
	t.Parallel()
	const head = `{"type":"trace","time":"2025-06-01T12:00:00Z","mono_ns":5,"version":1,"program":"a\\x1bb","pid":%d,"clock":"host 7"}`
	in := fmt.Sprintf(head, 1) + "\n" + `{"type":"note"}` + "\n" + fmt.Sprintf(head, 2)
	r := trace.NewReader(strings.NewReader(in))
	check(t, "before", r.Header(), trace.FileHeader{})
	for _, pid := range []int{1, 1, 2} {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		check(t, "header", r.Header(), trace.FileHeader{
			Version: 1, Program: "a\x1bb", PID: pid, Time: time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC), Mono: 5, Clock: "host 7",
		})
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"type":"accept","time":"2025-06-01T12:00:00.000000001Z","mono_ns":1,"conn":"0f31c9aa-3","fd":4,"local":"[::1]:7","took_us":12.345,"text":"\\x1b"}` + "\n"))
	f.Add([]byte(`{"type":"trace","version":1,"program":"p","pid":7,"clock":"host 7"}` + "\n\n" + `{"type":"x"`))
	f.Add([]byte(`{"type":"note","took_us":1e-7,"text":"\\u00e9\\777\\"}`))
	f.Add([]byte("\xff\n\r\n[]\nnull\n{}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := trace.NewReader(strings.NewReader(string(in)))
		for lines := 0; ; lines++ {
			e, err := r.Next()
			if err == io.EOF {
				return
			}
			var bad *trace.LineError
			if err != nil && !errors.As(err, &bad) {
				t.Fatalf("reading memory: %v", err)
			}
			if err == nil && e.Op == "" {
				t.Errorf("an event without a type: %+v", e)
			}
			if r.Line() > strings.Count(string(in), "\n")+1 {
				t.Fatalf("line %d", r.Line())
			}
			if err == nil && e.Op != trace.Header {
				checkWritesBack(t, e)
			}
		}
	})
}

// checkWritesBack checks that what was read is written so that it reads the same.
func checkWritesBack(t *testing.T, e trace.Event) {
	t.Helper()
	if e.Time.IsZero() || e.Mono == 0 || e.Time.Year() < 0 || e.Time.Year() > 9999 {
		return // the Writer puts in its own, or cannot say it
	}
	line := written(t, e)
	if !json.Valid([]byte(line)) {
		t.Errorf("not JSON: %q", line)
	}
	checkSame(t, readAll(t, line)[0], e)
}

func BenchmarkReader(b *testing.B) {
	var file strings.Builder
	w := trace.NewLines(&file)
	e := full()
	for range 1000 {
		w.Emit(&e)
	}
	w.Close()
	b.SetBytes(int64(file.Len()))
	b.ReportAllocs()
	for b.Loop() {
		r := trace.NewReader(strings.NewReader(file.String()))
		for {
			if _, err := r.Next(); err != nil {
				break
			}
		}
	}
}

package trace_test

import (
	"encoding/json"
	"strings"
	"testing"

	"yodel/trace"
)

func TestConnID(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]trace.ConnID{
		"":                              {},
		"0f31c9aa-17":                   {Run: 0x0f31c9aa, Seq: 17},
		"00000001-0":                    {Run: 1},
		"ffffffff-18446744073709551615": {Run: 1<<32 - 1, Seq: 1<<64 - 1},
	} {
		id, err := trace.ParseConnID(s)
		if id != want || err != nil {
			t.Errorf("ParseConnID(%q) = %v, %v, want %v", s, id, err, want)
		}
		check(t, "String", id.String(), s)
		check(t, "IsZero", id.IsZero(), s == "")
		text, _ := json.Marshal(id)
		check(t, "JSON", string(text), `"`+s+`"`)
		var back trace.ConnID
		if err := json.Unmarshal(text, &back); back != want || err != nil {
			t.Errorf("from JSON %s: %v, %v", text, back, err)
		}
	}
}

func TestParseConnIDRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"17", "0f31c9aa", "0f31c9aa-", "0f31c9aa--1", "0f31c9aa-+1", "0f31c9aa-01", "0f31c9a-1", "0f31c9aag-1",
		"0f31c9ag-1", "0f31c9aa-18446744073709551616", "0f31c9aa-1 ", " 0f31c9aa-1", "0f31c9aa-1-2",
	} {
		if id, err := trace.ParseConnID(s); err == nil || !id.IsZero() {
			t.Errorf("ParseConnID(%q) = %v, %v, want an error", s, id, err)
		}
		id := trace.ConnID{Seq: 9}
		if err := id.UnmarshalText([]byte(s)); err == nil || id.Seq != 9 {
			t.Errorf("UnmarshalText(%q) = %v, %v, want an error and no change", s, id, err)
		}
	}
}

func FuzzParseConnID(f *testing.F) {
	for _, s := range []string{"", "0f31c9aa-17", "00000000-0", "0F31C9AA-1", "a-b", "00000000-00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := trace.ParseConnID(s)
		if err != nil {
			return
		}
		if back, err := trace.ParseConnID(id.String()); back != id || err != nil {
			t.Errorf("%q is %v, and back %v, %v", s, id, back, err)
		}
	})
}

func TestNewIDsDiffer(t *testing.T) {
	t.Parallel()
	a, b := trace.NewID(), trace.NewID()
	if a == b || a.IsZero() || a.Run != b.Run || a.Run == 0 {
		t.Errorf("ids %v and %v", a, b)
	}
}

func TestTee(t *testing.T) {
	t.Parallel()
	a, b := newRecorder(), newRecorder()
	if s := trace.Tee(nil, nil); s != nil {
		t.Errorf("Tee of nils is %v, want nil", s)
	}
	check[trace.Sink](t, "Tee of one", trace.Tee(nil, a), a)
	var order strings.Builder
	say := func(s string) trace.Sink { return trace.Func(func(*trace.Event) { order.WriteString(s) }) }
	trace.Tee(say("1"), a, nil, say("2"), b, say("3")).Emit(&trace.Event{Op: trace.Note})
	check(t, "order", order.String(), "123")
	a.wantOps(t, "note")
	b.wantOps(t, "note")
}

func TestWantsEach(t *testing.T) {
	t.Parallel()
	plain := newRecorder()
	for _, c := range []struct {
		name string
		sink trace.Sink
		want bool
	}{
		{"nil", nil, false},
		{"plain", plain, false},
		{"each", trace.EachCall(plain), true},
		{"each of nil", trace.EachCall(nil), false},
		{"tee of plain ones", trace.Tee(plain, trace.Discard), false},
		{"tee with one that wants it", trace.Tee(plain, trace.EachCall(plain)), true},
		{"for a service", trace.For("echo", trace.EachCall(plain)), true},
		{"for a service, plain", trace.For("echo", plain), false},
		{"for a service, nil", trace.For("echo", nil), false},
		{"with names", &trace.Namer{Next: trace.EachCall(plain)}, true},
	} {
		check(t, c.name, trace.WantsEach(c.sink), c.want)
	}
}

func TestFor(t *testing.T) {
	t.Parallel()
	labelled, plain := newRecorder(), newRecorder()
	s := trace.Tee(trace.For("echo", labelled), plain)
	s.Emit(&trace.Event{Op: trace.Note})
	s.Emit(&trace.Event{Op: trace.Note, Service: "upper"})
	check(t, "without a service", labelled.all()[0].Service, "echo")
	check(t, "with a service", labelled.all()[1].Service, "upper")
	check(t, "what other sinks see", plain.all()[0].Service, "")
	if trace.For("echo", nil) != nil {
		t.Error("For of nil is not nil")
	}
}

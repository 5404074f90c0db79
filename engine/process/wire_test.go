package process

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"yodel/engine"
	"yodel/trace"
)

// What a child reports is what its parent learns.
func TestReportsArrive(t *testing.T) {
	var pipe bytes.Buffer
	r := &reporter{to: json.NewEncoder(&pipe), order: &order{Events: true}}
	at := time.Now()
	cause := errors.New("broken\nin two")
	r.sink().Emit(&trace.Event{Op: trace.Accept}) // the parent has said it
	r.sink().Emit(&trace.Event{Op: trace.Read, Bytes: 7, Time: at, Err: cause})
	r.sums(engine.Stats{BytesIn: 7, Ended: map[engine.Reason]int64{engine.Peer: 1}})
	r.sums(engine.Stats{BytesIn: 7, Ended: map[engine.Reason]int64{engine.Peer: 1}}) // nothing new
	slog.New(r).Warn("careful", "with", "that")

	var got []report
	for _, line := range bytes.SplitAfter(pipe.Bytes(), []byte("\n")) {
		if len(line) > 0 {
			rep, err := decode[report](line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			got = append(got, rep)
		}
	}
	if len(got) != 3 {
		t.Fatalf("%d reports, want 3:\n%s", len(got), &pipe)
	}
	e := got[0].Event.event()
	if e.Op != trace.Read || e.Bytes != 7 || !e.Time.Equal(at) || e.Err.Error() != cause.Error() {
		t.Errorf("event %+v", e)
	}
	if d := time.Duration(e.Mono - trace.Mono(at)); d.Abs() > time.Second {
		t.Errorf("its monotonic clock is %v away", d)
	}
	if s := got[1].Stats; s.BytesIn != 7 || s.Ended[engine.Peer] != 1 {
		t.Errorf("sums %+v", s)
	}
	if l := got[2].Log; l.Level != slog.LevelWarn || l.Message != "careful" || l.Attrs[1] != "that" {
		t.Errorf("log line %+v", l)
	}
}

// A child that says anything at all does no harm to its parent.
func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"Event":{"Op":"close","Text":"done","Err":"x"}}`))
	f.Add([]byte(`{"Event":{"Op":"handshake","Conn":"0f31c9aa-17","Bytes":-1}}`))
	f.Add([]byte(`{"Stats":{"BytesIn":9223372036854775807,"Ended":{"1":1,"255":1}}}`))
	f.Add([]byte(`{"Log":{"Level":8,"Message":"m","Attrs":["odd"]}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := decode[report](line)
		if err != nil {
			return
		}
		var count engine.Counters
		log := slog.New(slog.DiscardHandler)
		c := &child{
			p: &parent{cfg: &engine.Config{Log: log}}, shook: func() {},
			h: &engine.Handed{Count: &count, Emit: func(trace.Event) {}},
		}
		c.take(r)
		c.take(r)
		if r.Event != nil && r.Event.Op == trace.Close && c.last.Op != trace.Close {
			t.Error("the last event is not kept")
		}
		if n := count.Read().Accepted; n != 0 {
			t.Errorf("%d connections were accepted by a report", n)
		}
	})
}

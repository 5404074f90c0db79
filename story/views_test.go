package story_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"yodel/story"
)

// show writes a telling in all forms.
func show(t testing.TB, told *story.Telling, text, page, lines *bytes.Buffer) {
	t.Helper()
	v, j := story.TextView{W: text}, story.JSONView{W: lines}
	for _, one := range told.Stories {
		if err := v.Show(one); err != nil {
			t.Fatal(err)
		}
		if err := j.Show(one); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.ShowNotes(told); err != nil {
		t.Fatal(err)
	}
	if err := story.WritePage(page, told); err != nil {
		t.Fatal(err)
	}
}

const header = `{"type":"trace","time":"2027-01-15T08:00:00.000000000Z","mono_ns":1,"version":1,"program":"p","pid":1,"clock":"host 00"}` + "\n"

// Traces of the connection in scenes[0], which begins at 100 ms.
const clientTrace = header +
	`{"type":"resolve","time":"2027-01-15T08:00:00.099000000Z","conn":"00000001-1","side":"client","name":"b.test","text":"192.0.2.2","took_us":60000}
{"type":"socket","time":"2027-01-15T08:00:00.099500000Z","conn":"00000001-1","side":"client","fd":3,"remote":"192.0.2.2:80"}
{"type":"connect","time":"2027-01-15T08:00:00.102030000Z","conn":"00000001-1","side":"client","fd":3,"network":"tcp","local":"192.0.2.1:40000","remote":"192.0.2.2:80","took_us":2100}
{"type":"write","time":"2027-01-15T08:00:00.103100000Z","conn":"00000001-1","side":"client","fd":3,"network":"tcp","local":"192.0.2.1:40000","remote":"192.0.2.2:80","bytes":10}
{"type":"close","time":"2027-01-15T08:00:00.107000000Z","conn":"00000001-1","side":"client","fd":3,"network":"tcp","local":"192.0.2.1:40000","remote":"192.0.2.2:80","in":20,"out":10,"text":"closed here"}
`

const serverTrace = header +
	`{"type":"accept","time":"2027-01-15T08:00:00.399500000Z","conn":"00000002-1","side":"server","fd":4,"network":"tcp","local":"192.0.2.2:80","remote":"192.0.2.1:40000"}
{"type":"read","time":"2027-01-15T08:00:00.399700000Z","conn":"00000002-1","side":"server","fd":4,"network":"tcp","local":"192.0.2.2:80","remote":"192.0.2.1:40000","bytes":10}
{"type":"close","time":"2027-01-15T08:00:00.404000000Z","conn":"00000002-1","side":"server","fd":4,"network":"tcp","local":"192.0.2.2:80","remote":"192.0.2.1:40000","in":10,"out":20,"text":"closed by peer"}
`

// withName is a capture of the client's end in which the name is asked for before the
// connection is made.
func withName(query, answer []byte, asked, answered float64, before ...shot) []byte {
	x := newScene()
	x.packets = before
	x.send(c, 55, syn, 0).send(s, 56.01, syn|ack, 0).send(c, 57.02, ack, 0).send(c, 58, psh|ack, 10).send(s, 60, psh|ack, 20).close(62)
	for _, d := range []struct {
		from    int
		at      float64
		payload []byte
	}{{c, asked, query}, {s, answered, answer}} {
		raw := x.segment(d.from, 0, 0, 0, 0, 0)[:28+0]
		raw = append(raw[:28:28], d.payload...)
		binary.BigEndian.PutUint16(raw[2:], uint16(len(raw)))
		raw[9] = 17
		ports := [2]uint16{5353, 53}
		binary.BigEndian.PutUint16(raw[20:], ports[d.from])
		binary.BigEndian.PutUint16(raw[22:], ports[1-d.from])
		binary.BigEndian.PutUint16(raw[24:], uint16(8+len(d.payload)))
		p := shot{sent: ms(d.at), came: ms(d.at), from: d.from, raw: raw}
		x.packets = append([]shot{p}, x.packets...)
	}
	a, _ := x.captures()
	return a
}

func TestNameOnTheWire(t *testing.T) {
	t.Parallel()
	query := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04name\x04test\x00\x00\x01\x00\x01")
	answer := []byte("\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x04name\x04test\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04\xc0\x00\x02\x02")
	one := of(t, tell(t, withName(query, answer, 0, 50)))
	if one.Verdict != story.Client || abs(one.Parts.Client-ms(58)) > ms(3) || !strings.Contains(one.Why, "name") {
		t.Errorf("%q (%s) %+v", one.Verdict, one.Why, one.Parts)
	}
	one = of(t, tell(t, withName(query, answer, 0, 10, marker(30001, 12).packets...))) // another connection has used it
	if one.Verdict == story.Client || one.Parts.Client > ms(3) {
		t.Errorf("the second connection after a look-up: %q (%s) %+v", one.Verdict, one.Why, one.Parts)
	}
}

// TestAcceptTime: with the server's trace, accept queue and handler can be told.
func TestAcceptTime(t *testing.T) {
	t.Parallel()
	a, b := captures(scenes[3].play, func(x *scene) { x.skew = 0 })
	for _, test := range []struct {
		accept string
		want   story.Verdict
	}{{"00.399500000Z", story.AcceptQueue}, {"00.103000000Z", story.Handler}} {
		trace := strings.ReplaceAll(serverTrace, "00.399500000Z", test.accept)
		one := of(t, tell(t, a, b, []byte(trace)))
		if one.Verdict != test.want || one.Parts.Server > ms(3) {
			t.Errorf("accept at %s: verdict %q (%s) %+v %v", test.accept, one.Verdict, one.Why, one.Parts, one.Notes)
		}
	}
	one := of(t, tell(t, a, b, []byte(strings.ReplaceAll(serverTrace, "00.399500000Z", "09.000000000Z"))))
	if one.Verdict != story.Server || len(one.Notes) == 0 {
		t.Errorf("a trace whose clock is not that of the capture: verdict %q, notes %v", one.Verdict, one.Notes)
	}
}

func TestTracesAlone(t *testing.T) {
	t.Parallel()
	stories := tell(t, []byte(serverTrace), []byte(clientTrace))
	if len(stories) != 1 {
		t.Fatalf("%d stories", len(stories))
	}
	one := stories[0]
	if one.Evidence != story.Both || one.Verdict != story.CannotTell || abs(one.Parts.Client-ms(60)) > ms(1) {
		t.Errorf("%+v", one)
	}
	whole(t, one)
	quick := strings.ReplaceAll(clientTrace, `"took_us":60000`, `"took_us":400000`)
	if one := tell(t, []byte(quick))[0]; one.Verdict != story.Client || one.Evidence != story.ClientOnly {
		t.Errorf("a slow name: %q %q", one.Verdict, one.Why)
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	a, b := captures(scenes[7].play, nil)
	told, err := story.Tell(t.Context(), []story.Source{{R: bytes.NewReader(a)}, {R: bytes.NewReader(b)}, {R: strings.NewReader(clientTrace)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var text, page, lines bytes.Buffer
	show(t, told, &text, &page, &lines)
	for _, want := range []string{"socket() = 3", "SYN, 1.000 ms ─", "✗────── PSH, ACK 1:21, lost", "verdict: network back;", "network back 603.0"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text has no %q:\n%s", want, &text)
		}
	}
	for line := range strings.Lines(text.String()) {
		if n := utf8.RuneCountInString(line); n > 121 {
			t.Errorf("%d characters in a line: %s", n, line)
		}
	}
	for _, want := range []string{"default-src &#39;none&#39;", "Content-Security-Policy", ">network back<", "socket() = 3"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	var last map[string]any
	for line := range strings.Lines(lines.String()) {
		last = nil
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if last["type"] == "verdict" && strings.HasSuffix(last["client"].(string), ":40000") {
			break
		}
	}
	parts, _ := last["parts_us"].(map[string]any)
	if last["verdict"] != "network back" || last["evidence"] != "both" || parts["network_back"].(float64)-603000 > 1 {
		t.Errorf("the last line is %v", last)
	}
}

// TestHostileText: what a file says reaches neither terminal nor page as it is.
func TestHostileText(t *testing.T) {
	t.Parallel()
	bad := strings.ReplaceAll(clientTrace, "closed here", `<script>alert(1)</script>\u001b[2J`)
	told, err := story.Tell(t.Context(), []story.Source{{Name: "x\x1b", R: strings.NewReader(bad)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var text, page, lines bytes.Buffer
	show(t, told, &text, &page, &lines)
	if strings.Contains(page.String(), "<script") || strings.ContainsRune(text.String()+page.String()+lines.String(), 0x1b) {
		t.Errorf("%s\n%s\n%s", &text, &page, &lines)
	}
}

func TestSourcesThatAreNone(t *testing.T) {
	t.Parallel()
	a, b := captures(scenes[0].play, nil)
	for _, test := range []struct{ name, file, want string }{
		{"empty", "", "the file is empty"},
		{"something else", "GIF89a..........", "no capture file"},
	} {
		_, err := story.Tell(t.Context(), []story.Source{{Name: "f\n", R: strings.NewReader(test.file)}}, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
	told, err := story.Tell(t.Context(), []story.Source{{Name: "a", R: bytes.NewReader(a)}, {Name: "b", R: bytes.NewReader(b[:len(b)-7])}}, nil)
	if err != nil || len(told.Notes) != 1 || !strings.Contains(told.Notes[0], "cut short") {
		t.Errorf("a capture that was cut: %v, notes %q", err, told.Notes)
	}
	told, err = story.Tell(t.Context(), []story.Source{{Name: "a", R: bytes.NewReader(a)}, {Name: "b", R: bytes.NewReader(b)}}, &story.Options{Packets: 20})
	if err != nil {
		t.Fatal(err)
	}
	if one := of(t, told.Stories); one.Verdict != story.CannotTell || !strings.Contains(strings.Join(one.Notes, " "), "want of room") {
		t.Errorf("with room for 20 packets: %q %v", one.Verdict, one.Notes)
	}
	told, err = story.Tell(t.Context(), []story.Source{{R: bytes.NewReader(a)}}, &story.Options{Stories: 1})
	if err != nil || len(told.Stories) != 1 || told.More != 2 {
		t.Errorf("one story of three: %d and %d more, %v", len(told.Stories), told.More, err)
	}
}

package story_test

import (
	"bytes"
	"testing"

	"yodel/story"
)

// FuzzTell gives Tell two sources of any bytes. Whatever they are, the parts of each
// story add up, and nothing that can't be printed comes out.
func FuzzTell(f *testing.F) {
	for _, sc := range scenes {
		a, b := captures(sc.play, nil)
		if len(a)+len(b) < 8<<10 { // large ones only make it slow
			f.Add(a, b)
		}
	}
	a, _ := captures(scenes[0].play, nil)
	f.Add(a, []byte(clientTrace))
	f.Add([]byte(clientTrace), []byte(serverTrace))
	f.Add([]byte("{"), []byte("\n\n{}"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		sources := []story.Source{{Name: "a\x1b", R: bytes.NewReader(a)}, {Name: "b", R: bytes.NewReader(b)}}
		told, err := story.Tell(t.Context(), sources, &story.Options{Packets: 2000, Stories: 20})
		if err != nil {
			return
		}
		for _, one := range told.Stories {
			if one.Verdict == "" || one.Why == "" {
				t.Errorf("verdict %q: %q", one.Verdict, one.Why)
			}
			whole(t, one)
		}
		var text, page, lines bytes.Buffer
		show(t, told, &text, &page, &lines)
		for _, out := range []*bytes.Buffer{&text, &page, &lines} {
			if bytes.ContainsFunc(out.Bytes(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
				t.Errorf("not fit to print: %q", out)
			}
		}
	})
}

// FuzzLookup gives the reader of names any payload of datagrams from and to port 53.
func FuzzLookup(f *testing.F) {
	f.Add([]byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04name\x04test\x00\x00\x01\x00\x01"), []byte("\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x04name\x04test\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04\xc0\x00\x02\x02"))
	f.Fuzz(func(t *testing.T, query, answer []byte) {
		if len(query)+len(answer) > 60000 {
			return
		}
		told := tell(t, withName(query, answer, 0, 50))
		for _, one := range told {
			whole(t, one)
		}
	})
}

package spool

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"yodel/yodeltest"
)

var noon = time.Date(2026, time.March, 7, 12, 30, 0, 0, time.UTC)

func TestMboxForm(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ from, text, want string }{
		{"a@example.org", "Subject: hi\n\nhello\n", "From a@example.org Sat Mar  7 12:30:00 2026\nSubject: hi\n\nhello\n\n"},
		{"", "x\n", "From MAILER-DAEMON Sat Mar  7 12:30:00 2026\nx\n\n"},
		{`"a b"@c`, "", "From \"a_b\"@c Sat Mar  7 12:30:00 2026\n\n"},
		{"a", "From here\n>From there\n>>From\n From\nFromage\nFrom", "From a Sat Mar  7 12:30:00 2026\n>From here\n>>From there\n>>From\n From\nFromage\nFrom\n\n"},
		{"a", "no end", "From a Sat Mar  7 12:30:00 2026\nno end\n\n"},
	} {
		for cut, parts := range yodeltest.Cuts(tt.text) {
			if got := mboxOf(t, tt.from, parts...); got != tt.want {
				t.Errorf("%q, %s:\ngot  %q\nwant %q", tt.text, cut, got, tt.want)
			}
		}
	}
}

// mboxOf returns a message in mbox form, whose text comes in parts.
func mboxOf(t testing.TB, from string, parts ...string) string {
	t.Helper()
	var readers []io.Reader
	for _, p := range parts {
		readers = append(readers, strings.NewReader(p))
	}
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	if err := writeMbox(w, from, noon, io.MultiReader(readers...)); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	return out.String()
}

func TestMboxOfATextThatCannotBeRead(t *testing.T) {
	t.Parallel()
	err := writeMbox(bufio.NewWriter(io.Discard), "a", noon, iotest.ErrReader(io.ErrClosedPipe))
	if err != io.ErrClosedPipe {
		t.Errorf("the error is %v", err)
	}
}

// readMbox returns the messages of an mbox file as they were, and their separators.
func readMbox(t testing.TB, file io.Reader) (texts, froms []string) {
	t.Helper()
	r := newMboxReader(file)
	for {
		from, err := r.next()
		if err == io.EOF {
			return texts, froms
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		texts, froms = append(texts, string(text)), append(froms, from)
	}
}

func TestReadMbox(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 7000)
	for _, tt := range []struct {
		what, file string
		want       []string
	}{
		{"nothing", "", nil},
		{"one message", "From a\nhi\n\n", []string{"hi\n"}},
		{"two", "From a\nhi\n\nFrom b\n\nho\n\n", []string{"hi\n", "\nho\n"}},
		{"one that is empty", "From a\n\nFrom b\nx\n\n", []string{"", "x\n"}},
		{"without an empty line there is no separator", "From a\nhi\nFrom b\nho\n", []string{"hi\nFrom b\nho\n"}},
		{"empty lines stay but for the last", "From a\n\n\n\nhi\n\n\n\n", []string{"\n\n\nhi\n\n\n"}},
		{"quoted", "From a\n>From x\n>>From y\n>Fro\n>\n>>\n\n", []string{"From x\n>From y\n>Fro\n>\n>>\n"}},
		{"garbage in front", "garbage\nFrom x\n\nFrom a\nhi\n", []string{"hi\n"}},
		{"long lines", "From " + long + "\n" + long + "\n\n>" + long + "\n\nFrom b\n" + long, []string{long + "\n\n>" + long + "\n", long}},
		{"long garbage", long + "\n\nFrom a\nx\n", []string{"x\n"}},
		{"CR LF", "From a\r\nhi\r\n\r\nFrom b\r\nho\r\n", []string{"hi\r\n", "ho\r\n"}},
		{"torn within a separator", "From a\nhi\n\nFrom", []string{"hi\n\nFrom"}},
		{"a separator at the end", "From a", []string{""}},
		{"torn within a quote", "From a\n>Fr", []string{">Fr"}},
	} {
		texts, _ := readMbox(t, strings.NewReader(tt.file))
		if strings.Join(texts, "|") != strings.Join(tt.want, "|") || len(texts) != len(tt.want) {
			t.Errorf("%s:\ngot  %.300q\nwant %.300q", tt.what, texts, tt.want)
		}
	}
}

func TestReadMboxFails(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"", "garbage", "From a", "From a\n", "From a\nhi\n"} {
		r := newMboxReader(io.MultiReader(strings.NewReader(file), iotest.ErrReader(io.ErrClosedPipe)))
		var err error
		for err == nil {
			if _, err = r.next(); err == nil {
				_, err = io.ReadAll(r)
			}
		}
		if err != io.ErrClosedPipe {
			t.Errorf("after %q the error is %v", file, err)
		}
	}
}

// Two messages in a file come back as they were, whatever they say; only a newline at
// the end is added where there was none.
func FuzzMbox(f *testing.F) {
	f.Add("hello\n", "From a\n\nFrom b\n", uint8(3))
	f.Add(">>From x\n>From", "\n\n\n", uint8(1))
	f.Add("", "\r\nFrom \x00", uint8(0))
	f.Fuzz(func(t *testing.T, one, two string, cut uint8) {
		at := int(cut) % (len(one) + 1)
		file := mboxOf(t, "a@b", one[:at], one[at:]) + mboxOf(t, "", two)
		got, froms := readMbox(t, iotest.OneByteReader(strings.NewReader(file)))
		want := []string{ended(one), ended(two)}
		if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("got  %q\nwant %q\nfile %q", got, want, file)
		}
		if len(froms) == 2 && (!strings.HasPrefix(froms[0], "a@b ") || !fromTime(froms[1]).Equal(noon)) {
			t.Errorf("the separators are %q", froms)
		}
	})
}

func ended(s string) string {
	if s != "" && !strings.HasSuffix(s, "\n") {
		return s + "\n"
	}
	return s
}

// Any file at all is read to its end, and no byte of it appears more than once.
func FuzzReadMbox(f *testing.F) {
	f.Add([]byte("From a\nhi\n\nFrom b\n>From c\n"))
	f.Add([]byte("\n\r\nFrom \n\x00>From "))
	f.Fuzz(func(t *testing.T, file []byte) {
		texts, _ := readMbox(t, bytes.NewReader(file))
		if sum := len(strings.Join(texts, "")); sum > len(file) {
			t.Errorf("%d bytes of messages in a file of %d", sum, len(file))
		}
	})
}

package spool

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// headMax is how much of a message's header ReadHead returns, in bytes.
const headMax = 64 << 10

// ErrNoMessage reports a message that is not there.
var ErrNoMessage = errors.New("there is no such message")

// A View reads a spool, also while a process delivers to it, and any other folder of
// mbox files or Maildirs, such as /var/mail. It changes nothing.
type View struct {
	root   *os.Root
	format Format
}

// OpenView opens the folder. Where no spool has written down what its format is, a
// folder in it that has a folder "new" makes it Maildirs.
func OpenView(dir string) (*View, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	v := &View{root: root}
	if v.format, err = formatOf(root); err == nil && v.format == "" {
		v.format, err = guessFormat(root)
	}
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("open the spool %s: %w", dir, err)
	}
	return v, nil
}

func guessFormat(root *os.Root) (Format, error) {
	all, err := readDir(root, ".")
	for _, e := range all {
		if fi, err := root.Stat(path.Join(e.Name(), "new")); err == nil && fi.IsDir() {
			return Maildir, nil
		}
	}
	return Mbox, err
}

// Close closes the folder.
func (v *View) Close() error { return v.root.Close() }

// Format returns how the mailboxes are kept.
func (v *View) Format() Format { return v.format }

// Boxes returns the names of the mailboxes, sorted. They may be a peer's text: escape
// them, or what Address makes of them, before showing.
func (v *View) Boxes() ([]string, error) {
	all, err := readDir(v.root, ".")
	var names []string
	for _, e := range all {
		if isBox(e, v.format) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

// Message is one that a View has found.
type Message struct {
	Number int       // from 1 on, in the order in which they came
	Time   time.Time // when it came; zero: not known

	// Text is the message, a peer's, with LF at the end of lines if yodel has stored it. It
	// can be read until the next message is asked for.
	Text io.Reader
}

// Messages yields the messages of a mailbox. It ends after an error.
func (v *View) Messages(box string) iter.Seq2[Message, error] {
	switch {
	case !fs.ValidPath(box) || strings.Contains(box, "/") || strings.HasPrefix(box, "."):
		return func(yield func(Message, error) bool) {
			yield(Message{}, &fs.PathError{Op: "open", Path: box, Err: fs.ErrNotExist})
		}
	case v.format == Maildir:
		return v.maildirMessages(box)
	}
	return v.mboxMessages(box)
}

// Message writes the text of a message to w. Its error wraps ErrNoMessage if there is
// no message of that number.
func (v *View) Message(w io.Writer, box string, number int) error {
	for m, err := range v.Messages(box) {
		if err != nil {
			return err
		}
		if m.Number == number {
			_, err := io.Copy(w, m.Text)
			return err
		}
	}
	return fmt.Errorf("message %d of mailbox %s: %w", number, box, ErrNoMessage)
}

// ReadHead reads a message's text to its end, and returns its header without the empty
// line, at most 65,536 bytes of it, and how many bytes the whole of it has.
func ReadHead(text io.Reader) (head []byte, size int64, err error) {
	var h header
	size, err = io.Copy(&h, text)
	return h.text, size, err
}

func (v *View) mboxMessages(box string) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		f, size, err := v.openMbox(box)
		if err != nil {
			yield(Message{}, err)
			return
		}
		defer f.Close()
		r := newMboxReader(io.NewSectionReader(f, 0, size))
		for n := 1; ; n++ {
			from, err := r.next()
			if err == io.EOF {
				return
			}
			if !yield(Message{n, fromTime(from), r}, err) || err != nil {
				return
			}
		}
	}
}

// openMbox opens a mailbox and returns its length at a time when nobody is writing to
// it.
func (v *View) openMbox(box string) (*os.File, int64, error) {
	if fi, err := v.root.Stat(box); err != nil || !fi.Mode().IsRegular() {
		return nil, 0, cmp.Or(err, error(&fs.PathError{Op: "open", Path: box, Err: errors.New("it is no file")}))
	}
	size, err := v.quietSize(box)
	if err != nil {
		return nil, 0, err
	}
	f, err := v.root.Open(box)
	return f, size, err
}

// viewPatience is how long a reader waits for a mailbox that is locked.
const viewPatience = 5 * time.Second

func (v *View) quietSize(box string) (int64, error) {
	f, err := v.root.Open(box)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for begun := time.Now(); ; <-again.C {
		err := lockMail(f, false)
		if err == nil {
			break
		}
		if !errors.Is(err, errLocked) || time.Since(begun) > viewPatience {
			return 0, fmt.Errorf("mailbox %s: %w", box, err)
		}
	}
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// fromTime returns the time at the end of what follows "From ", zero if there is none.
func fromTime(s string) time.Time {
	if len(s) < len(time.ANSIC) {
		return time.Time{}
	}
	t, _ := time.Parse(time.ANSIC, s[len(s)-len(time.ANSIC):])
	return t
}

func (v *View) maildirMessages(box string) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		names, err := v.maildirNames(box)
		if err != nil {
			yield(Message{}, err)
			return
		}
		for n, name := range names {
			if !v.yieldFile(name, n+1, yield) {
				return
			}
		}
	}
}

func (v *View) yieldFile(name string, n int, yield func(Message, error) bool) bool {
	f, err := v.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return true // a mail reader has moved or removed it
	}
	if err != nil {
		yield(Message{}, err)
		return false
	}
	defer f.Close()
	return yield(Message{n, deliveryTime(name), f}, nil)
}

// maildirNames returns the files of a mailbox, in the order in which they came.
func (v *View) maildirNames(box string) ([]string, error) {
	var names []string
	for _, dir := range []string{"new", "cur"} {
		dir = path.Join(box, dir)
		all, err := readDir(v.root, dir)
		if err != nil {
			return nil, err
		}
		for _, e := range all {
			if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
				names = append(names, path.Join(dir, e.Name()))
			}
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(deliveryTime(a).Compare(deliveryTime(b)), strings.Compare(path.Base(a), path.Base(b)))
	})
	return names, nil
}

// deliveryTime returns the time that a Maildir's file name begins with.
func deliveryTime(name string) time.Time {
	seconds, rest, _ := strings.Cut(path.Base(name), ".")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}
	}
	micros := 0
	if digits, ok := strings.CutPrefix(rest, "M"); ok && len(digits) >= 6 {
		micros, _ = strconv.Atoi(digits[:6])
	}
	return time.Unix(n, int64(micros)*1000).UTC()
}

// A header keeps the header of the message that is written to it.
type header struct {
	text []byte
	done bool
}

// Write implements io.Writer.
func (h *header) Write(p []byte) (int, error) {
	if h.done {
		return len(p), nil
	}
	from := max(len(h.text)-3, 0)
	h.text = append(h.text, p...)
	if end, ok := endOfHeader(h.text, from); ok {
		h.text, h.done = h.text[:end], true
	}
	if len(h.text) > headMax {
		h.text, h.done = h.text[:headMax], true
	}
	return len(p), nil
}

// endOfHeader returns where the empty line begins; it looks for it from some place on.
func endOfHeader(text []byte, from int) (int, bool) {
	if bytes.HasPrefix(text, []byte("\n")) {
		return 0, true
	}
	for _, empty := range []string{"\n\n", "\n\r\n"} {
		if i := bytes.Index(text[from:], []byte(empty)); i >= 0 {
			return from + i + 1, true
		}
	}
	return 0, false
}

package mail

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"yodel/internal/escape"
	"yodel/service/mail/spool"
)

// Reading is what the command yodel mail is asked for.
type Reading struct {
	Dir    string // of the spool, or of any folder of mbox files or Maildirs
	Box    string // a mailbox, by its name or by a recipient's address; empty: all are listed
	Number int    // a message of it, from 1 on; 0: all are listed
	Raw    bool   // the message as it is stored, every byte
	JSON   bool   // lines of JSON
}

// Read writes what is asked for to w. Without Raw and JSON that is safe to show on a
// terminal: text that came from a peer is escaped.
func Read(w io.Writer, r *Reading) error {
	v, err := spool.OpenView(r.Dir)
	if err != nil {
		return err
	}
	defer v.Close()
	if r.Box == "" {
		return r.listBoxes(w, v)
	}
	box, err := findBox(v, r.Box)
	if err != nil {
		return err
	}
	switch {
	case r.Number == 0:
		return r.listMessages(w, v, box)
	case r.JSON:
		return showJSON(w, v, box, r.Number)
	case r.Raw:
		return v.Message(w, box, r.Number)
	}
	return show(w, v, box, r.Number)
}

// findBox returns the name of the mailbox that somebody has asked for.
func findBox(v *spool.View, word string) (string, error) {
	boxes, err := v.Boxes()
	if err != nil {
		return "", err
	}
	names := []string{word, spool.Name(word, "")}
	if at := strings.LastIndexByte(word, '@'); at >= 0 {
		local, domain := word[:at], word[at+1:]
		if ascii, err := asciiDomain(domain); err == nil {
			domain = ascii
		}
		names = append(names, spool.Name(local, domain), spool.Name(local, ""))
	}
	for _, name := range names {
		if slices.Contains(boxes, name) {
			return name, nil
		}
	}
	if len(boxes) == 0 {
		return "", errors.New("there is no mailbox yet")
	}
	return "", fmt.Errorf("there is no mailbox %q; there are %s", word, someOf(boxes))
}

// someOf names the first few of boxes.
func someOf(boxes []string) string {
	const few = 8
	var names []string
	for _, b := range boxes[:min(len(boxes), few)] {
		names = append(names, escape.StringN(b, 60))
	}
	if len(boxes) > few {
		names = append(names, fmt.Sprintf("%d more", len(boxes)-few))
	}
	return strings.Join(names, ", ")
}

// boxLine is the JSON line about a mailbox.
type boxLine struct {
	Type     string    `json:"type"`
	Time     time.Time `json:"time,omitzero"` // of the last message
	Mailbox  string    `json:"mailbox"`
	Address  string    `json:"address"`
	Messages int       `json:"messages"`
	Bytes    int64     `json:"bytes"`
}

// messageLine is the JSON line about a message.
type messageLine struct {
	Type    string    `json:"type"`
	Time    time.Time `json:"time,omitzero"`
	Mailbox string    `json:"mailbox"`
	Number  int       `json:"number"`
	Bytes   int64     `json:"bytes"`
	From    string    `json:"from,omitempty"`
	To      string    `json:"to,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Data    []byte    `json:"data,omitempty"`
}

func (r *Reading) listBoxes(w io.Writer, v *spool.View) error {
	boxes, err := v.Boxes()
	if err != nil {
		return err
	}
	if len(boxes) == 0 && !r.JSON {
		_, err := fmt.Fprintln(w, "no mailboxes")
		return err
	}
	for _, box := range boxes {
		line, err := describeBox(v, box)
		if err == nil {
			err = r.print(w, line, line.text())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func describeBox(v *spool.View, box string) (boxLine, error) {
	line := boxLine{Type: "mailbox", Mailbox: escape.String(box), Address: escape.String(spool.Address(box))}
	for m, err := range v.Messages(box) {
		if err != nil {
			return line, err
		}
		n, err := io.Copy(io.Discard, m.Text)
		if err != nil {
			return line, err
		}
		line.Messages++
		line.Bytes += n
		line.Time = m.Time
	}
	return line, nil
}

func (b boxLine) text() string {
	word := "messages"
	if b.Messages == 1 {
		word = "message "
	}
	return fmt.Sprintf("%5d %s %12d bytes  %s  %s", b.Messages, word, b.Bytes, shortTime(b.Time), b.Address)
}

func shortTime(t time.Time) string {
	if t.IsZero() {
		return "                   "
	}
	return t.UTC().Format(time.DateTime)
}

func (r *Reading) listMessages(w io.Writer, v *spool.View, box string) error {
	for m, err := range v.Messages(box) {
		if err != nil {
			return err
		}
		line, err := describeMessage(box, m, m.Text)
		if err == nil {
			err = r.print(w, line, line.text())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// describeMessage describes m, whose text it reads.
func describeMessage(box string, m spool.Message, text io.Reader) (messageLine, error) {
	head, size, err := spool.ReadHead(text)
	return messageLine{
		Type: "message", Time: m.Time, Mailbox: escape.String(box), Number: m.Number, Bytes: size,
		From: readable(head, "From"), To: readable(head, "To"), Subject: readable(head, "Subject"),
	}, err
}

func (m messageLine) text() string {
	return fmt.Sprintf("%5d  %s %9d  %-30s  %s", m.Number, shortTime(m.Time), m.Bytes, cut(m.From, 30), cut(m.Subject, 60))
}

// cut returns at most n characters of s, which is escaped.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func (r *Reading) print(w io.Writer, line any, text string) error {
	if r.JSON {
		return json.NewEncoder(w).Encode(line)
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

func showJSON(w io.Writer, v *spool.View, box string, number int) error {
	for m, err := range v.Messages(box) {
		if err != nil {
			return err
		}
		if m.Number != number {
			continue
		}
		var text bytes.Buffer
		line, err := describeMessage(box, m, io.TeeReader(m.Text, &text))
		if err != nil {
			return err
		}
		line.Data = text.Bytes()
		return json.NewEncoder(w).Encode(line)
	}
	return fmt.Errorf("message %d of mailbox %s: %w", number, escape.String(box), spool.ErrNoMessage)
}

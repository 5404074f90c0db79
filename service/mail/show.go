package mail

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"strings"

	"yodel/internal/escape"
	"yodel/service/mail/spool"
)

// field returns a field of a header, its lines joined; "" if it is not there. head is a
// peer's and may be anything.
func field(head []byte, name string) string {
	var value []string
	for line := range bytes.Lines(head) {
		text := strings.TrimRight(string(line), "\r\n")
		switch continues := strings.HasPrefix(text, " ") || strings.HasPrefix(text, "\t"); {
		case value != nil && continues:
			value = append(value, strings.TrimLeft(text, " \t"))
		case value != nil:
			return strings.Join(value, " ")
		case len(text) > len(name) && text[len(name)] == ':' && strings.EqualFold(text[:len(name)], name):
			value = []string{strings.Trim(text[len(name)+1:], " \t")}
		}
	}
	return strings.Join(value, " ")
}

// readable returns a field as people read it: encoded words (RFC 2047) decoded, then
// escaped.
func readable(head []byte, name string) string {
	text := field(head, name)
	var words mime.WordDecoder
	if decoded, err := words.DecodeHeader(text); err == nil {
		text = decoded
	}
	return escape.StringN(text, 1000)
}

// show writes a message for people: its header as it came, and its text decoded, of a
// multipart the first part that is plain text.
func show(w io.Writer, v *spool.View, box string, number int) error {
	text, send := io.Pipe()
	go func() { send.CloseWithError(v.Message(send, box, number)) }()
	defer text.Close()
	in := bufio.NewReader(text)
	out := bufio.NewWriter(w)
	head, err := showHeader(out, in)
	if err == nil {
		err = showBody(out, head, in)
	}
	if err != nil {
		out.Flush()
		return err
	}
	return out.Flush()
}

// showHeader writes the header and the empty line, and returns the header, as far as
// it is used.
func showHeader(out *bufio.Writer, in *bufio.Reader) ([]byte, error) {
	const most = 64 << 10
	var head []byte
	for {
		line, err := in.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull && len(line) == 0 {
			if err == io.EOF {
				err = nil
			}
			return head, err
		}
		showLine(out, line)
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return head, nil
		}
		if len(head) < most {
			head = append(head, line...)
		}
	}
}

// showLine writes a line, or a piece of one, escaped. Tabs stay.
func showLine(out *bufio.Writer, line []byte) {
	text, ended := bytes.CutSuffix(line, []byte("\n"))
	for i, piece := range bytes.Split(bytes.TrimSuffix(text, []byte("\r")), []byte("\t")) {
		if i > 0 {
			out.WriteByte('\t')
		}
		out.WriteString(escape.String(string(piece)))
	}
	if ended {
		out.WriteByte('\n')
	}
}

func showText(out *bufio.Writer, r io.Reader) error {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadSlice('\n')
		showLine(out, line)
		switch err {
		case nil, bufio.ErrBufferFull:
		case io.EOF:
			if len(line) > 0 {
				out.WriteByte('\n')
			}
			return nil
		default:
			return err
		}
	}
}

// showBody writes the text behind a header.
func showBody(out *bufio.Writer, head []byte, in io.Reader) error {
	kind, params, err := mime.ParseMediaType(field(head, "Content-Type"))
	if err == nil && strings.HasPrefix(kind, "multipart/") && params["boundary"] != "" {
		return showParts(out, multipart.NewReader(in, params["boundary"]))
	}
	return showDecoded(out, in, field(head, "Content-Transfer-Encoding"))
}

func showDecoded(out *bufio.Writer, in io.Reader, encoding string) error {
	err := showText(out, decoded(in, encoding))
	if err != nil {
		return fmt.Errorf("the text can't be decoded (--raw shows it as it came): %s", escape.String(err.Error()))
	}
	return nil
}

// decoded returns what in has, its encoding (RFC 2045, 6) undone as far as it is one.
func decoded(in io.Reader, encoding string) io.Reader {
	switch strings.ToLower(encoding) {
	case "quoted-printable":
		return quotedprintable.NewReader(in)
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, in)
	}
	return in
}

// partsMax is how many parts of a message are looked at.
const partsMax = 100

// showParts writes the first part that is plain text, and names the others.
func showParts(out *bufio.Writer, parts *multipart.Reader) error {
	shown := false
	for n := 1; n <= partsMax; n++ {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the parts of the message can't be told apart (--raw shows it as it came): %s", escape.String(err.Error()))
		}
		kind := partType(part.Header.Get("Content-Type"))
		if kind == "text/plain" && !shown {
			shown = true
			if err := showDecoded(out, part, part.Header.Get("Content-Transfer-Encoding")); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(out, "[part %d: %s]\n", n, escape.StringN(kind, 60))
	}
	return nil
}

// partType returns the media type of a part, which is plain text where it is not said.
func partType(field string) string {
	kind, _, err := mime.ParseMediaType(field)
	if err != nil {
		return "text/plain"
	}
	return kind
}

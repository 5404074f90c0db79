package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"yodel/rio"
)

// cgiHeadMax is how long the header of a program's answer may be, in bytes, and cgiLineMax
// how long one of its lines.
const (
	cgiHeadMax = 64 << 10
	cgiLineMax = 16 << 10
)

// response is the header of a program's answer: RFC 3875 §6.
type response struct {
	status   int      // 0: the program has not said one
	location *url.URL // nil for none
	header   http.Header
}

// isLocal reports whether location is a path of this server, to be served at once: §6.2.2.
func (p *response) isLocal() bool {
	to := p.location
	return to != nil && p.status == 0 && to.Scheme == "" && to.Host == "" && strings.HasPrefix(to.Path, "/")
}

// code returns the status to send.
func (p *response) code() int {
	switch {
	case p.status != 0:
		return p.status
	case p.location != nil:
		return http.StatusFound // §6.2.3
	}
	return http.StatusOK
}

var (
	errNoHeader   = errors.New("its output ends before the empty line that ends a header")
	errHeaderSize = fmt.Errorf("its header is longer than %d bytes, or a line of it than %d", cgiHeadMax, cgiLineMax)
)

// lineReader reads lines with a bound.
type lineReader interface{ ReadLine() ([]byte, error) }

// readResponse reads a program's header, which must have one of the fields that §6.3 asks
// for, so that not any output is an answer.
func readResponse(lines lineReader) (*response, error) {
	p, err := readHeader(lines)
	if err == nil && p.status == 0 && p.location == nil && p.header.Get("Content-Type") == "" {
		return nil, errors.New("its header has no Content-Type, Location or Status")
	}
	return p, err
}

// readHeader reads fields up to an empty line. Lines end in LF, or CR and LF. An error of
// the lines' source is returned as it is.
func readHeader(lines lineReader) (*response, error) {
	p := &response{header: make(http.Header)}
	seen := 0
	for {
		line, err := lines.ReadLine()
		switch {
		case errors.Is(err, rio.ErrTooLong):
			return nil, errHeaderSize
		case err != nil:
			return nil, err
		}
		if seen += len(line); seen > cgiHeadMax {
			return nil, errHeaderSize
		}
		whole := line[len(line)-1] == '\n'
		line = rio.Trim(line)
		switch {
		case !whole:
			return nil, errNoHeader
		case len(line) == 0:
			return p, nil
		}
		if err := p.field(string(line)); err != nil {
			return nil, err
		}
	}
}

func (p *response) field(line string) error {
	name, value, ok := strings.Cut(line, ":")
	value = strings.Trim(value, " \t")
	if !ok || !isToken([]byte(name)) || !all([]byte(value), fieldByte) {
		return errors.New("a line of its header is not NAME: VALUE")
	}
	name = http.CanonicalHeaderKey(name)
	switch name {
	case "Status":
		return p.setStatus(value)
	case "Location":
		return p.setLocation(value)
	case "Transfer-Encoding":
		return errors.New("it codes its output for the connection, which is the server's to do")
	case "Content-Length":
		if n, err := strconv.ParseUint(value, 10, 63); err != nil || strconv.FormatUint(n, 10) != value || p.header[name] != nil {
			return errors.New("its Content-Length is no number")
		}
	}
	if !ofConnection[name] {
		p.header.Add(name, value)
	}
	return nil
}

// ofConnection are the fields that are net/http's to write.
var ofConnection = map[string]bool{
	"Connection": true, "Date": true, "Keep-Alive": true, "Proxy-Connection": true, "Te": true, "Trailer": true,
	"Upgrade": true,
}

// setStatus reads NNN, and a reason, which HTTP/2 has no place for. §6.3.3.
func (p *response) setStatus(value string) error {
	digits, _, _ := strings.Cut(value, " ")
	n, err := strconv.Atoi(digits)
	if err != nil || len(digits) != 3 || n < 200 || n > 599 || p.status != 0 {
		return errors.New("its Status is not one number from 200 to 599")
	}
	p.status = n
	return nil
}

func (p *response) setLocation(value string) error {
	to, err := url.Parse(value)
	if err != nil || value == "" || p.location != nil {
		return errors.New("its Location is not one URI")
	}
	p.location = to
	return nil
}

// readStatusLine reads the first line of an answer that a program gives in HTTP's own
// form, and returns its status and the whole line.
func readStatusLine(lines lineReader) (status int, line []byte, err error) {
	line, err = lines.ReadLine()
	if err != nil {
		return 0, nil, err
	}
	_, rest, ok := strings.Cut(string(rio.Trim(line)), " ")
	if !ok || !strings.HasPrefix(string(line), "HTTP/1.") || line[len(line)-1] != '\n' {
		return 0, nil, errors.New("its output does not begin with a status line, as that of an nph- program must")
	}
	var p response
	if err := p.setStatus(rest); err != nil {
		return 0, nil, err
	}
	return p.status, line, nil
}

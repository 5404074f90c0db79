package call

import (
	"encoding/json"
	"io"
	"net/netip"
	"strconv"
	"time"

	"yodel/internal/escape"
)

// A JSONView writes each event as a line of JSON. The fields are
//
//	type          the EventType
//	time          RFC 3339, UTC, nine decimals
//	conn          the connection's name in traces
//	target        what was asked for (connecting, connected, failed)
//	network       tcp, tls, unix, udp
//	local, remote the socket pair
//	path          of a Unix socket
//	resolve_us, connect_us, tls_us
//	              how long the phases took, in microseconds; left out if there was none
//	offset        of data in all that went in its direction
//	data          payload, in base64
//	end           how the connection ended
//	in, out       bytes received and sent
//	late          bytes of out that were sent after the peer's direction had ended
//	right         bytes that came back as they had to (verified)
//	took_us       how long it was open, or how long verifying took
//	error, status what went wrong, and the exit status for it
//
// Text that may come from a peer is escaped as everywhere, its backslashes doubled once
// more by JSON.
type JSONView struct{ W io.Writer }

// Payload returns true.
func (*JSONView) Payload() bool { return true }

type jsonLine struct {
	Type    EventType `json:"type"`
	Time    string    `json:"time"`
	Conn    string    `json:"conn,omitempty"`
	Target  string    `json:"target,omitempty"`
	Network string    `json:"network,omitempty"`
	Local   string    `json:"local,omitempty"`
	Remote  string    `json:"remote,omitempty"`
	Path    string    `json:"path,omitempty"`
	Resolve micros    `json:"resolve_us,omitzero"`
	Connect micros    `json:"connect_us,omitzero"`
	TLS     micros    `json:"tls_us,omitzero"`
	Offset  *int64    `json:"offset,omitempty"`
	Data    []byte    `json:"data,omitempty"`
	End     string    `json:"end,omitempty"`
	In      *int64    `json:"in,omitempty"`
	Out     *int64    `json:"out,omitempty"`
	Late    int64     `json:"late,omitzero"`
	Right   *int64    `json:"right,omitempty"`
	Took    micros    `json:"took_us,omitzero"`
	Error   string    `json:"error,omitempty"`
	Status  int       `json:"status,omitzero"`
}

// micros is a duration that is written in microseconds with three decimals.
type micros time.Duration

func (m micros) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(m)/1e3, 'f', 3, 64), nil
}

// Show writes one line. It returns the error of W.
func (v *JSONView) Show(e *Event) error {
	line := jsonLine{
		Type: e.Type, Conn: e.Conn.String(),
		Time: timeOf(e).UTC().Format("2006-01-02T15:04:05.000000000Z"),
		Took: micros(e.Took), Late: e.Late,
	}
	switch e.Type {
	case Sent, Received:
		line.Offset, line.Data = &e.Offset, e.Data
	case Closed:
		line.End, line.In, line.Out = escape.String(e.End), &e.In, &e.Out
	case Checked:
		line.Out, line.Right, line.Took = &e.Verified.Sent, &e.Verified.Right, micros(e.Verified.Took)
	case Connecting, Connected, Failed:
		line.open(e)
	}
	if e.Err != nil {
		line.Error, line.Status = escape.String(e.Err.Error()), ExitStatus(e.Err)
	}
	enc := json.NewEncoder(v.W) // writes once
	enc.SetEscapeHTML(false)
	return enc.Encode(line)
}

// open sets what is told of a connection once.
func (l *jsonLine) open(e *Event) {
	l.Target, l.Path, l.Network = escape.String(e.Target.String()), escape.String(e.Path), e.Network
	l.Local, l.Remote = addrText(e.Local), addrText(e.Remote)
	l.Resolve, l.Connect, l.TLS = micros(e.Phases.Resolve), micros(e.Phases.Connect), micros(e.Phases.TLS)
}

func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return escape.String(a.String())
}

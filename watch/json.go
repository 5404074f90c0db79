package watch

import (
	"encoding/json"
	"io"
	"strconv"
	"time"

	"yodel/internal/escape"
	"yodel/trace"
	"yodel/watch/capture"
	"yodel/watch/flow"
	"yodel/watch/packet"
)

// A JSONView writes each event as a line of JSON. docs/json.md has the fields.
type JSONView struct{ W io.Writer }

// Show writes one line. It returns the error of W.
func (v *JSONView) Show(e *Event) error {
	var line any
	switch e.Type {
	case FlowEnded:
		line = flowLineOf(e)
	case Ended:
		line = captureLineOf(e)
	default:
		line = packetLineOf(e)
	}
	return v.write(line)
}

func (v *JSONView) write(line any) error {
	enc := json.NewEncoder(v.W) // writes once
	enc.SetEscapeHTML(false)
	return enc.Encode(line)
}

// micros is a duration that is written in microseconds with three decimals.
type micros time.Duration

func (m micros) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(m)/1e3, 'f', 3, 64), nil
}

func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }

func timeOrNone(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return timeText(t)
}

// packetLine is a line of type segment, datagram or icmp.
type packetLine struct {
	Type      EventType    `json:"type"`
	Time      string       `json:"time"`
	Conn      trace.ConnID `json:"conn,omitzero"`
	Flow      int64        `json:"flow"`
	Packet    int64        `json:"packet"`
	Interface string       `json:"interface,omitempty"`
	Direction string       `json:"direction,omitempty"`
	Owner     string       `json:"owner,omitempty"`
	From      trace.Side   `json:"from,omitempty"`
	Client    string       `json:"client"`
	Server    string       `json:"server"`

	Flags    []string `json:"flags,omitempty"`
	Seq      *int64   `json:"seq,omitempty"`
	Ack      *int64   `json:"ack,omitempty"`
	Window   *int64   `json:"window,omitempty"`
	Length   *int     `json:"length,omitempty"`
	Data     []byte   `json:"data,omitempty"`
	State    string   `json:"state,omitempty"`
	Marks    []string `json:"marks,omitempty"`
	Rules    []string `json:"rules,omitempty"`
	Evidence []string `json:"evidence,omitempty"`
	Cause    string   `json:"cause,omitempty"`
	DupACK   int      `json:"duplicate_ack,omitzero"`
	Earlier  int64    `json:"earlier,omitzero"`
	Waited   micros   `json:"waited_us,omitzero"`
	Acked    int64    `json:"acked,omitzero"`
	RTT      micros   `json:"rtt_us,omitzero"`

	ICMP *icmpLine `json:"icmp,omitempty"`

	Meaning  string   `json:"meaning,omitempty"`
	Comments []string `json:"comments,omitempty"`
}

// icmpLine is what an ICMP error says.
type icmpLine struct {
	By      string `json:"by"`
	Version uint8  `json:"version"`
	Type    uint8  `json:"type"`
	Code    uint8  `json:"code"`
	MTU     uint32 `json:"mtu,omitzero"`
}

func packetLineOf(e *Event) *packetLine {
	f, w, p := e.Flow, e.What, e.Packet
	line := &packetLine{
		Type: e.Type, Time: timeText(e.Time), Conn: f.ID, Flow: f.Number, Packet: p.Number,
		Interface: escape.String(p.Interface.Name), Direction: p.Direction.String(), Owner: escape.String(p.Owner),
		From: w.From, Client: f.Pair.Client.String(), Server: f.Pair.Server.String(), Meaning: Meaning(w),
	}
	for _, c := range p.Comments {
		line.Comments = append(line.Comments, escape.String(c))
	}
	switch e.Type {
	case ICMP:
		h := &w.Packet.ICMP
		line.ICMP = &icmpLine{w.Packet.Src.Addr().String(), w.Packet.IP.Version, h.Type, h.Code, h.MTU}
		return line
	case Segment:
		line.segment(w)
	}
	line.Length, line.Data = &w.Length, w.Packet.Payload
	return line
}

func (l *packetLine) segment(w *flow.Event) {
	l.Flags = flagNames(w.Packet.TCP.Flags)
	l.Seq, l.State = &w.Seq, w.State.String()
	if w.Ack >= 0 {
		l.Ack = &w.Ack
	}
	if w.Window >= 0 {
		l.Window = &w.Window
	}
	l.Marks, l.Evidence, l.Cause = w.Marks.Names(), w.Evidence.Names(), w.Cause.String()
	if w.Rules != w.Marks {
		l.Rules = w.Rules.Names()
	}
	l.DupACK, l.Earlier, l.Waited = w.DupACK, w.Earlier, micros(w.Waited)
	l.Acked, l.RTT = w.Acked, micros(w.RTT)
}

func flagNames(f packet.TCPFlags) []string {
	var names []string
	for one := packet.FIN; one <= packet.AE; one <<= 1 {
		if f.Has(one) {
			names = append(names, one.String())
		}
	}
	return names
}

// flowLine is a line of type flow.
type flowLine struct {
	Type      EventType    `json:"type"`
	Time      string       `json:"time"`
	Conn      trace.ConnID `json:"conn,omitzero"`
	Flow      int64        `json:"flow"`
	Network   string       `json:"network"`
	Client    string       `json:"client"`
	Server    string       `json:"server"`
	Guessed   bool         `json:"guessed,omitempty"`
	Began     string       `json:"began"`
	Took      micros       `json:"took_us"`
	State     string       `json:"state,omitempty"`
	Ending    flow.Ending  `json:"ending,omitempty"`
	Handshake micros       `json:"handshake_us,omitzero"`
	Reset     *resetLine   `json:"reset,omitempty"`
	ICMP      *icmpSum     `json:"icmp,omitempty"`
	Evicted   bool         `json:"evicted,omitempty"`

	FromClient *halfLine `json:"from_client"`
	FromServer *halfLine `json:"from_server"`
}

type resetLine struct {
	From     trace.Side `json:"from"`
	Time     string     `json:"time"`
	Packet   int64      `json:"packet"`
	Why      string     `json:"why,omitempty"`
	Exact    bool       `json:"exact"`
	OtherTTL bool       `json:"other_ttl,omitempty"`
}

type icmpSum struct {
	Count int64    `json:"count"`
	Last  icmpLine `json:"last"`
}

// halfLine is what one side has sent.
type halfLine struct {
	Packets    int64       `json:"packets"`
	Bytes      int64       `json:"bytes"`
	Stream     *int64      `json:"stream,omitempty"`
	Missing    int64       `json:"missing,omitzero"`
	Marks      []countLine `json:"marks,omitempty"`
	Rules      []countLine `json:"rules,omitempty"`
	RTT        *rttLine    `json:"rtt,omitempty"`
	ZeroWindow micros      `json:"zero_window_us,omitzero"`
	FIN        bool        `json:"fin,omitempty"`
	MSS        int         `json:"mss,omitzero"`
}

// countLine is how often a mark was set.
type countLine struct {
	Mark  string `json:"mark"`
	Count int64  `json:"count"`
}

type rttLine struct {
	Count int64  `json:"count"`
	Min   micros `json:"min_us"`
	Mean  micros `json:"mean_us"`
	Max   micros `json:"max_us"`
}

func flowLineOf(e *Event) *flowLine {
	f := e.Flow
	line := &flowLine{
		Type: e.Type, Time: timeText(e.Time), Conn: f.ID, Flow: f.Number, Network: f.Network,
		Client: f.Pair.Client.String(), Server: f.Pair.Server.String(), Guessed: f.Guessed,
		Began: timeText(f.First), Took: micros(f.Last.Sub(f.First)), State: f.State.String(),
		Ending: f.Ending(), Handshake: micros(f.InitialRTT), Evicted: f.Evicted,
		FromClient: halfLineOf(f, &f.Client), FromServer: halfLineOf(f, &f.Server),
	}
	if r := f.Reset; r != nil {
		line.Reset = &resetLine{r.From, timeText(r.Time), r.Number, r.Why.String(), r.Exact, r.OtherTTL}
	}
	if f.ICMP > 0 {
		i := f.LastICMP
		line.ICMP = &icmpSum{f.ICMP, icmpLine{i.From.String(), i.Version, i.Type, i.Code, i.MTU}}
	}
	return line
}

func halfLineOf(f *flow.Flow, h *flow.Half) *halfLine {
	line := &halfLine{Packets: h.Packets, Bytes: h.Bytes}
	if f.State == flow.NotTCP {
		return line
	}
	line.Stream, line.Missing, line.FIN, line.MSS = &h.Stream, h.Missing, h.FIN, h.MSS
	line.Marks, line.ZeroWindow = counts(&h.Marks), micros(h.ZeroWindow)
	if h.ByRule != h.Marks {
		line.Rules = counts(&h.ByRule)
	}
	if r := &h.RTT; r.Count > 0 {
		line.RTT = &rttLine{r.Count, micros(r.Min), micros(r.Mean()), micros(r.Max)}
	}
	return line
}

func counts(c *flow.Counts) []countLine {
	var lines []countLine
	for mark, n := range c.All() {
		lines = append(lines, countLine{mark.String(), n})
	}
	return lines
}

// captureLine is a line of type capture: the last one.
type captureLine struct {
	Type      EventType `json:"type"`
	Time      string    `json:"time"`
	Began     string    `json:"began,omitempty"`
	Packets   int64     `json:"packets"`
	Shown     int64     `json:"shown"`
	Hidden    int64     `json:"hidden"`
	Other     int64     `json:"other"`
	Stray     int64     `json:"stray"`
	Broken    int64     `json:"broken"`
	Fragments int64     `json:"fragments"`
	Joined    int64     `json:"joined"`
	Unjoined  int64     `json:"unjoined"`
	Dropped   uint64    `json:"dropped"`
	Unproved  uint64    `json:"unproved"`
	Flows     int64     `json:"flows"`
	Evicted   int64     `json:"evicted"`
}

func captureLineOf(e *Event) *captureLine {
	s := e.Sum
	return &captureLine{
		Type: e.Type, Time: timeText(e.Time), Began: timeOrNone(s.First), Packets: s.Packets, Shown: s.Shown,
		Hidden: s.Hidden, Other: s.Other, Stray: s.Stray, Broken: s.Broken, Fragments: s.Fragments,
		Joined: s.Joined, Unjoined: s.Unjoined, Dropped: s.Dropped, Unproved: s.Unproved, Flows: s.Flows, Evicted: s.Evicted,
	}
}

// rowLine is a line of type connection: a socket of the user's.
type rowLine struct {
	Type            string        `json:"type"`
	Time            string        `json:"time"`
	Network         string        `json:"network"`
	Local           string        `json:"local"`
	Remote          string        `json:"remote"`
	UID             uint32        `json:"uid"`
	Processes       []processLine `json:"processes,omitempty"`
	State           string        `json:"state,omitempty"`
	Sent            *int64        `json:"sent,omitempty"`
	Received        *int64        `json:"received,omitempty"`
	RTT             micros        `json:"rtt_us,omitzero"`
	Retransmissions int64         `json:"retransmissions,omitzero"`
	Age             micros        `json:"age_us"`
	Older           bool          `json:"older,omitempty"`
	Unread          int           `json:"unread,omitzero"`
	Unsent          int           `json:"unsent,omitzero"`
	Captured        bool          `json:"captured"`
	Packets         int64         `json:"packets,omitzero"`
	Gone            bool          `json:"gone,omitempty"`
}

// processLine is who has a socket open.
type processLine struct {
	PID  int    `json:"pid"`
	Name string `json:"name"`
}

// othersLine is a line of type others.
type othersLine struct {
	Type        string `json:"type"`
	Time        string `json:"time"`
	Hidden      int    `json:"hidden"`
	HiddenPorts int    `json:"hidden_waiting"`
	Waiting     int    `json:"waiting"`
}

// ShowRow writes a row as a line of type connection.
func (v *JSONView) ShowRow(now time.Time, r *Row) error {
	line := &rowLine{
		Type: "connection", Time: timeText(now), Network: r.Network, Local: r.Local.String(), Remote: r.Remote.String(),
		UID: r.UID, State: r.State, RTT: micros(r.RTT), Retransmissions: r.Again, Age: micros(r.Age), Older: r.Older,
		Unread: r.Unread, Unsent: r.Unsent, Captured: r.Packets >= 0, Packets: max(r.Packets, 0), Gone: r.Gone,
	}
	for _, p := range r.Who {
		line.Processes = append(line.Processes, processLine{p.PID, escape.String(p.Name)})
	}
	if r.Sent >= 0 {
		line.Sent, line.Received = &r.Sent, &r.Received
	}
	return v.write(line)
}

// ShowOthers writes how many connections are not shown, as a line of type others.
func (v *JSONView) ShowOthers(now time.Time, o *Overview) error {
	return v.write(&othersLine{"others", timeText(now), o.Hidden, o.HiddenPorts, o.Waiting})
}

// headingLine is a line of type watch: the first one of a live watch.
type headingLine struct {
	Type       string   `json:"type"`
	Time       string   `json:"time"`
	User       string   `json:"user"`
	UID        uint32   `json:"uid"`
	AllUsers   bool     `json:"all_users"`
	Filter     string   `json:"filter,omitempty"`
	Processes  []string `json:"process,omitempty"`
	Captured   bool     `json:"captured"`
	Method     string   `json:"method,omitempty"`
	Ports      []uint16 `json:"ports,omitempty"`
	Interfaces []string `json:"interfaces,omitempty"`
	Reason     string   `json:"reason,omitempty"`
}

// ShowHeading writes what is watched, as a line of type watch.
func (v *JSONView) ShowHeading(h *Heading) error {
	line := &headingLine{
		Type: "watch", Time: timeText(h.Time), User: escape.String(h.User), UID: h.UID, AllUsers: h.AllUsers, Filter: h.Filter,
		Processes: h.Processes, Captured: h.Method != capture.Best, Ports: h.Ports, Reason: escape.String(h.Reason),
	}
	if line.Captured {
		line.Method = h.Method.String()
	}
	for _, name := range h.Interfaces {
		line.Interfaces = append(line.Interfaces, escape.String(name))
	}
	return v.write(line)
}

package web

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"yodel/internal/escape"
)

// caller is what the server knows of who asks, and says to nobody else.
type caller struct {
	Client   string     `json:"client"`         // address and port; "" over a Unix socket
	Server   string     `json:"server"`         // likewise
	Name     string     `json:"name,omitempty"` // of the client, where it leads back to the address
	Method   string     `json:"method"`         //
	Target   string     `json:"target"`         //
	Protocol string     `json:"protocol"`       // HTTP/1.1, HTTP/2.0 …
	Host     string     `json:"host,omitempty"` // whom the client wanted
	Headers  []field    `json:"headers"`        // sorted by name
	TLS      *tlsFields `json:"tls,omitempty"`  // not without TLS
}

type field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type tlsFields struct {
	Version     string `json:"version"`
	Cipher      string `json:"cipher"`
	KeyExchange string `json:"key_exchange,omitempty"`
	ServerName  string `json:"server_name,omitempty"` // that the client asked for
	Protocol    string `json:"protocol,omitempty"`    // agreed on by ALPN
	Resumed     bool   `json:"resumed"`
}

// secrets are the fields whose values are not shown: a script of another program's on
// this host may be able to read the page, but not those.
var secrets = []string{"Authorization", "Cookie", "Proxy-Authorization"}

// showCaller answers with what is known of the caller: as a page, as JSON or as text,
// whatever is asked for.
func (s *Server) showCaller(a *answer, r *http.Request) {
	form := formFor(r)
	if r.URL.Path != "/" && r.URL.Path != "/json" {
		a.notFound()
		return
	}
	c := s.callerOf(r)
	a.Header().Set("Cache-Control", "no-store")
	switch form {
	case "html":
		page(a, r, c.page())
	case "json":
		a.Header().Set("Content-Type", "application/json")
		text, _ := json.MarshalIndent(c, "", "  ") // strings: it can't fail
		sendText(a, r, append(text, '\n'))
	default:
		a.Header().Set("Content-Type", plain)
		sendText(a, r, []byte(c.text()))
	}
}

// formFor returns how to show the caller.
func formFor(r *http.Request) string {
	accept := strings.Join(r.Header["Accept"], ",")
	switch {
	case r.URL.Path == "/json", strings.Contains(accept, "application/json"):
		return "json"
	case strings.Contains(accept, "text/html"):
		return "html"
	}
	return "text"
}

func (s *Server) callerOf(r *http.Request) caller {
	c := caller{
		Client: addressOf(r.RemoteAddr), Method: r.Method, Target: r.RequestURI, Protocol: r.Proto,
		Host: r.Host, Headers: fieldsOf(r.Header), TLS: tlsOf(r.TLS),
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		c.Server = addressOf(local.String())
	}
	if addr, err := netip.ParseAddrPort(c.Client); err == nil && s.cfg.Names != nil {
		if n := s.cfg.Names.Reverse(r.Context(), addr.Addr()); n.Confirmed {
			c.Name = n.Name
		}
	}
	return c
}

// addressOf returns an address with its port; "" for that of a Unix socket.
func addressOf(s string) string {
	addr, err := netip.ParseAddrPort(s)
	if err != nil {
		return ""
	}
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()).String()
}

func fieldsOf(h http.Header) []field {
	fields := []field{}
	for name, values := range h {
		for _, v := range values {
			if slices.Contains(secrets, name) {
				v = fmt.Sprintf("(%d bytes, not shown)", len(v))
			}
			fields = append(fields, field{name, v})
		}
	}
	slices.SortStableFunc(fields, func(x, y field) int { return strings.Compare(x.Name, y.Name) })
	return fields
}

func tlsOf(s *tls.ConnectionState) *tlsFields {
	if s == nil {
		return nil
	}
	t := &tlsFields{
		Version: tls.VersionName(s.Version), Cipher: tls.CipherSuiteName(s.CipherSuite),
		ServerName: s.ServerName, Protocol: s.NegotiatedProtocol, Resumed: s.DidResume,
	}
	if s.CurveID != 0 {
		t.KeyExchange = s.CurveID.String()
	}
	return t
}

// rows are the lines of the page and of the text.
func (c *caller) rows() []field {
	rows := []field{
		{"socket pair", fmt.Sprintf("(%s, %s)", unknownIfEmpty(c.Client), unknownIfEmpty(c.Server))},
		{"name", c.Name},
		{"request", c.Method + " " + c.Target + " " + c.Protocol},
		{"host", c.Host},
	}
	if t := c.TLS; t != nil {
		resumed := "new session"
		if t.Resumed {
			resumed = "resumed session"
		}
		rows = append(rows,
			field{"TLS", strings.Join([]string{t.Version, t.Cipher, t.KeyExchange, resumed}, ", ")},
			field{"TLS server name", t.ServerName}, field{"TLS protocol (ALPN)", t.Protocol})
	}
	return slices.DeleteFunc(rows, func(f field) bool { return f.Value == "" })
}

func unknownIfEmpty(s string) string {
	if s == "" {
		return "unix"
	}
	return s
}

func (c *caller) text() string {
	var b strings.Builder
	for _, f := range c.rows() {
		fmt.Fprintf(&b, "%s: %s\n", f.Name, escape.String(f.Value))
	}
	b.WriteString("headers:\n")
	for _, f := range c.Headers {
		fmt.Fprintf(&b, "  %s: %s\n", escape.String(f.Name), escape.String(f.Value))
	}
	return b.String()
}

func (c *caller) page() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, pageHead, "Who calls", "Who calls")
	table := func(fields []field) {
		b.WriteString("<table>\n")
		for _, f := range fields {
			fmt.Fprintf(&b, "<tr><th>%s</th><td class=w>%s</td></tr>\n",
				html.EscapeString(escape.String(f.Name)), html.EscapeString(escape.String(f.Value)))
		}
		b.WriteString("</table>\n")
	}
	table(c.rows())
	b.WriteString("<h2>Headers</h2>\n")
	table(c.Headers)
	b.WriteString("<p>The same as <a href=\"/json\">JSON</a>.</p>\n</body>\n</html>\n")
	return []byte(b.String())
}

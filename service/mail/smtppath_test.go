package mail

import (
	"net/netip"
	"strings"
	"testing"
)

func TestPaths(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("x", labelMax)
	for _, tt := range []struct{ in, local, domain, text string }{
		{"<>", "", "", ""},
		{"<alice@example.org>", "alice", "example.org", "alice@example.org"},
		{"<Postmaster>", "Postmaster", "", "Postmaster"},
		{"<a.b+c=d@x>", "a.b+c=d", "x", "a.b+c=d@x"},
		{"<!#$%&'*+-/=?^_`{|}~@x>", "!#$%&'*+-/=?^_`{|}~", "x", "!#$%&'*+-/=?^_`{|}~@x"},
		{`<"a b"@x>`, "a b", "x", `"a b"@x`},
		{`<"a\"b\\c"@x>`, `a"b\c`, "x", `"a\"b\\c"@x`},
		{`<"needless"@x>`, "needless", "x", "needless@x"},
		{`<"a@b"@x>`, "a@b", "x", `"a@b"@x`},
		{`<"a..b"@x>`, "a..b", "x", `"a..b"@x`},
		{`<""@x>`, "", "x", `""@x`},
		{`<">"@x>`, ">", "x", `">"@x`},
		{"<@a.example,@[192.0.2.1]:alice@b>", "alice", "b", "alice@b"},
		{"<@a:Postmaster>", "Postmaster", "", "Postmaster"},
		{"<a@[192.0.2.1]>", "a", "", "a@[192.0.2.1]"},
		{"<a@[IPv6:2001:db8::1]>", "a", "", "a@[IPv6:2001:db8::1]"},
		{"<a@[ipv6:::1]>", "a", "", "a@[IPv6:::1]"},
		{"<a@under_score.example>", "a", "under_score.example", "a@under_score.example"},
		{"<ünï@bücher.example>", "ünï", "bücher.example", "ünï@bücher.example"},
		{`<"ü ñ"@x>`, "ü ñ", "x", `"ü ñ"@x`},
		{"<a@" + label + "." + label + "." + label + ">", "a", label + "." + label + "." + label, "a@" + label + "." + label + "." + label},
	} {
		p, rest, err := parsePath([]byte(tt.in + " SIZE=1"))
		if err != nil || string(rest) != " SIZE=1" {
			t.Errorf("%s: %v, and %q is left", tt.in, err, rest)
		}
		if p.local != tt.local || p.domain != tt.domain || p.String() != tt.text || p.isNull() != (tt.in == "<>") {
			t.Errorf("%s: %+v, %s", tt.in, p, p)
		}
	}
}

func TestWhatIsNoPath(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", labelMax+1)
	for _, in := range []string{
		"", "<", ">", "alice@example.org", "<alice@example.org", "alice@example.org>",
		"<alice@>", "<@>", "<@example.org>", "<alice@example..org>", "<alice@.org>", "<alice@org.>", "<alice@-x>", "<alice@x->",
		"<.a@x>", "<a.@x>", "<a..b@x>", "<a b@x>", "<a@b@c>", "<a@b c>", "<a,b@x>", "<a@x,y>",
		`<"a@x>`, `<"a"b@x>`, `<"a\>`, `<"a"@x`, "<\"a\x01\"@x>", "<\"a\\\x01\"@x>", `<"`, `<"a\`,
		"<@a,b:c@d>", "<@a:>", "<@a:@b:c@d>", "<@a,:c@d>", "<@a", "<@a,@b>", "<@[1.2.3]:a@b>",
		"<a@[]>", "<a@[1.2.3]>", "<a@[192.0.2.1>", "<a@[::1]>", "<a@[IPv6:192.0.2.1]>", "<a@[IPv6:fe80::1%eth0]>", "<a@[x:y]>",
		"<a\r@x>", "<a\n@x>", "<a\x00@x>", "<a@x\r>", "<a@x\x00>", "<\"a\r\n\"@x>", "<a\x7f@x>", "<a\x1b@x>",
		"<\xff@x>", "<a@\xff>", "<a@x>\xff", "<\u202ea@x>", "<a\u0085@x>", "<a@\u00a0>", "<\ufeffa@x>", "<a@x\u2028y>",
		"<a@" + long + ">", "<" + strings.Repeat("x", pathMax) + "@y>", "<a@" + strings.Repeat("x.", 126) + "xx>", "<a@" + strings.Repeat("x.", 130) + "x>",
		"<@" + strings.Repeat("a,@", 90) + "b:c@d>",
	} {
		if p, rest, err := parsePath([]byte(in)); err == nil {
			t.Errorf("%.50q is %+v, and %q is left", in, p, rest)
		}
	}
}

func TestDomains(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Example.ORG": "example.org", "bücher.example": "xn--bcher-kva.example", "BÜCHER.example": "xn--bcher-kva.example",
		"xn--bcher-kva.example": "xn--bcher-kva.example",
	} {
		if got, err := asciiDomain(in); got != want || err != nil {
			t.Errorf("%s is %s, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "a b", "a..b", "-", "x.\r", "\xff"} {
		if got, err := asciiDomain(in); err == nil {
			t.Errorf("%q is %q", in, got)
		}
	}
}

// What is accepted has no byte that could end a line or a path, and means the same when
// it is written and read again.
func FuzzPath(f *testing.F) {
	f.Add([]byte(`<"a b\"\\"@[IPv6:2001:db8::1]>`))
	f.Add([]byte("<@a,@b:ünï@bücher.example>x"))
	f.Add([]byte("<Postmaster> SIZE=1"))
	f.Add([]byte("<>\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, rest, err := parsePath(in)
		if err != nil {
			return
		}
		text := p.String()
		if strings.ContainsAny(text+p.local, "\r\n\x00\x1b\x7f") || len(in)-len(rest) > pathMax {
			t.Errorf("%q is accepted: %q", in, text)
		}
		again, rest, err := parsePath([]byte("<" + text + ">"))
		if len(text)+2 <= pathMax && (err != nil || len(rest) > 0 || again != p) {
			t.Errorf("%q has become %q, which is %+v, %v, instead of %+v", in, text, again, err, p)
		}
	})
}

func TestLiteral(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"192.0.2.1": "[192.0.2.1]", "::ffff:192.0.2.1": "[192.0.2.1]", "fe80::1%eth0": "[IPv6:fe80::1]",
	} {
		if got := literal(netip.MustParseAddr(in)); got != want {
			t.Errorf("%s is %s", in, got)
		}
	}
}

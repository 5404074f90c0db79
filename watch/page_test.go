package watch_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"yodel/watch"
	"yodel/watch/pcap"
)

func pageOf(t *testing.T, m *made, about string) string {
	t.Helper()
	var out strings.Builder
	watched(t, m.file(), &watch.Config{View: &watch.Page{W: &out, About: about}})
	return out.String()
}

// A page has the rows and sums of each connection.
func TestPage(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	m.echo()
	m.write(udp(client, server, "question"))
	m.icmp(3, 3, ip(17, 64, client.Addr(), server.Addr(), be.AppendUint64(nil, uint64(client.Port())<<48|uint64(server.Port())<<32)))
	page := pageOf(t, m, "what was asked for")
	for _, want := range []string{
		"<title>yodel watch</title>", "what was asked for, from 2026-05-06 07:08:09 UTC<br>10 packets in 9.00 ms: 2 flows",
		`<a href="#flow1"><b>tcp</b> (192.0.2.1:51213, 192.0.2.2:15213)</a>`, `<article id="flow2">`,
		`<tr class="c"><td class="t">0.000000</td><td class="w"><div class="p"><i></i><b>SYN</b><i></i></div><div class="n">seq 0 win 1000</div></td><td class="m"><p>SYN: connect()</p></td></tr>`,
		`<tr class="s"><td class="t">0.004000</td>`, `<code>&#34;HELLO\n&#34;</code>`, `<p class="end">closed by client, after 7.00 ms</p>`,
		"<li>client sent 6 bytes in 5 segments", `<tr class="none bad">`, "ICMP: port unreachable",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page[strings.Index(page, "<body>"):])
		}
	}
}

// The page takes nothing from elsewhere, and its policy allows its own style alone.
func TestPageIsSelfContained(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	m.echo()
	page := pageOf(t, m, "")
	_, rest, _ := strings.Cut(page, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	policy := "default-src &#39;none&#39;; style-src &#39;sha256-" + strings.ReplaceAll(base64.StdEncoding.EncodeToString(sum[:]), "+", "&#43;") + "&#39;; base-uri &#39;none&#39;; form-action &#39;none&#39;"
	if !strings.Contains(page, `content="`+policy+`"`) {
		t.Errorf("the policy is not %q:\n%s", policy, page[:600])
	}
	if found := regexp.MustCompile(`(?i)<script|<link|<img|style=|url\(|@import|https?:`).FindString(page); found != "" {
		t.Errorf("it has %q", found)
	}
}

// Whatever a packet, a file or a program says is text.
func TestPageIsSafe(t *testing.T) {
	t.Parallel()
	const evil = "</code><script>alert(1)</script>\x1b[2J\u202e\x00"
	m := newMade(t)
	m.handshake()
	m.before = func(p *pcap.Packet) { p.Comments = []string{evil} }
	m.segment(c, ack, 1, 1, 1000, evil)
	var out strings.Builder
	p := &watch.Page{W: &out, About: "of <b>me</b>"}
	watched(t, m.file(), &watch.Config{View: viewFunc(func(e *watch.Event) error {
		if e.Packet != nil {
			e.Packet.Owner = evil
		}
		return p.Show(e)
	})})
	page := out.String()
	for _, bad := range []string{"<script>", "\x1b", "\u202e", "\x00", "<b>me"} {
		if strings.Contains(page, bad) {
			t.Errorf("it has %q", bad)
		}
	}
	if !strings.Contains(page, `\x1b[2J`) {
		t.Error("the payload is not shown")
	}
}

// A page is bounded, and says what is not on it.
func TestPageIsBounded(t *testing.T) {
	t.Parallel()
	m := newMade(t)
	const flows, more = 502, 5000
	for i := range flows {
		m.write(udp(netip.AddrPortFrom(client.Addr(), uint16(1000+i)), server, "x"))
	}
	for range more {
		m.write(udp(netip.AddrPortFrom(client.Addr(), 1000), server, strings.Repeat("y", 1000)))
	}
	page := pageOf(t, m, "")
	if n := strings.Count(page, "<article"); n != 500 {
		t.Errorf("%d flows", n)
	}
	if n := strings.Count(page, `<tr class="c">`); n != 5000 {
		t.Errorf("%d rows", n)
	}
	const left = flows + more - 5000
	for _, want := range []string{fmt.Sprintf("2 connections and %d packets are not on this page.", left), fmt.Sprintf("%d more packets", left-2), "… 1000 bytes"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q", want)
		}
	}
	if len(page) > 5000*800 {
		t.Errorf("%d bytes", len(page))
	}
}

func TestPageOfNothing(t *testing.T) {
	t.Parallel()
	if page := pageOf(t, newMade(t), ""); !strings.Contains(page, "<p>No packets.</p>") {
		t.Error(page)
	}
}

package mail

import (
	"net/netip"
	"testing"
	"time"
)

var noon = time.Date(2026, time.March, 7, 12, 30, 0, 0, time.FixedZone("", 3600))

func TestTrace(t *testing.T) {
	t.Parallel()
	p := testPolicy(t, nil)
	to, _, _ := parsePath([]byte(`<"a b"@example.org>`))
	from, _, _ := parsePath([]byte("<@x:s@example.net>"))
	for _, tt := range []struct {
		s    session
		from netip.Addr
		want string
	}{
		{
			session{policy: p, helo: "client.example", from: from, to: to, boxes: []string{"x"}, extended: true, tls: "TLS 1.3 TLS_AES_128_GCM_SHA256"},
			netip.MustParseAddr("2001:db8::1"),
			"Return-Path: <s@example.net>\nReceived: from client.example ([IPv6:2001:db8::1])\n\tby mx.example.org with ESMTPS (TLS 1.3 TLS_AES_128_GCM_SHA256)\n\tid ID1\n\tfor <\"a b\"@example.org>;\n\tSat, 07 Mar 2026 11:30:00 +0000\n",
		},
		{
			session{policy: p, helo: "[192.0.2.9]", boxes: []string{"x", "y"}},
			netip.Addr{},
			"Return-Path: <>\nReceived: from [192.0.2.9]\n\tby mx.example.org with SMTP\n\tid ID1;\n\tSat, 07 Mar 2026 11:30:00 +0000\n",
		},
	} {
		if got := tt.s.trace(tt.from, "ID1", noon); got != tt.want {
			t.Errorf("got\n%swant\n%s", got, tt.want)
		}
	}
	for want, s := range map[string]session{
		"SMTP": {}, "ESMTP": {extended: true}, "ESMTPS": {extended: true, tls: "x"},
		"UTF8SMTP": {extended: true, utf8: true}, "UTF8SMTPS": {extended: true, utf8: true, tls: "x"},
	} {
		if got := s.protocol(); got != want {
			t.Errorf("%s is wanted, %s it is", want, got)
		}
	}
}

package escape_test

import (
	"testing"

	"yodel/internal/escape"
)

func TestPagePolicy(t *testing.T) {
	t.Parallel()
	// printf 'p{}' | openssl dgst -sha256 -binary | base64
	const want = "default-src 'none'; style-src 'sha256-gG2yISYereRMiG2lMXrbiUgi0Ubw9p7QCeWcroOvy9Y='; base-uri 'none'; form-action 'none'"
	if got := escape.PagePolicy("p{}"); got != want {
		t.Errorf("%s", got)
	}
}

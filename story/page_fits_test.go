package story_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"yodel/story"
	"yodel/watch"
	"yodel/watch/pcap"
	"yodel/yodeltest"
)

// frames shows pages in frames of two widths, and then says how wide they are.
const frames = `<!DOCTYPE html><body>
<iframe src="/story" width="390" height="500"></iframe><iframe src="/story" width="1200" height="500"></iframe>
<iframe src="/watch" width="390" height="500"></iframe><iframe src="/watch" width="1200" height="500"></iframe>
<iframe src="/hostile" width="390" height="500"></iframe><iframe src="/hostile" width="1200" height="500"></iframe>
<pre id="said"></pre>
<script>onload = () => { said.textContent = [...document.querySelectorAll("iframe")].map(f => {
	const d = f.contentDocument, all = [d.documentElement]
	if (f.getAttribute("src") != "/hostile") all.push(...d.querySelectorAll(".scroll"))
	return all.map(e => f.getAttribute("src") + " at " + f.width + ": " + e.scrollWidth + " of " + e.clientWidth).join("\n")
}).join("\n") }</script></body>`

var widths = regexp.MustCompile(`(/\w+ at \d+): (\d+) of (\d+)`)

// The pages of story and watch fit on a telephone and on a screen, in a real browser: at
// neither width is anything to be scrolled sideways, whatever a peer has said.
func TestPagesFit(t *testing.T) {
	t.Parallel()
	chromium := yodeltest.NeedProgram(t, "chromium")
	capture, _ := captures(scenes[0].play, nil)
	told, err := story.Tell(t.Context(), []story.Source{{Name: "a", R: bytes.NewReader(capture)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.ReplaceAll(clientTrace, "closed here", strings.Repeat("long", 100))
	hostile, err := story.Tell(t.Context(), []story.Source{{Name: strings.Repeat("x", 300), R: strings.NewReader(long)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := pcap.NewReader(bytes.NewReader(capture))
	if err != nil {
		t.Fatal(err)
	}
	var first, second, third bytes.Buffer
	_, err = watch.Watch(t.Context(), watch.File(r), &watch.Config{View: &watch.Page{W: &third, About: strings.Repeat("about", 60)}})
	for _, err := range []error{err, story.WritePage(&first, told), story.WritePage(&second, hostile)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	pages := map[string]string{"/": frames, "/story": first.String(), "/hostile": second.String(), "/watch": third.String()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, pages[r.URL.Path])
	}))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dom, err := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+t.TempDir(), "--dump-dom", server.URL+"/").Output()
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	all := widths.FindAllStringSubmatch(string(dom), -1)
	if len(all) < 8 {
		t.Fatalf("chromium says only\n%s", dom)
	}
	for _, m := range all {
		needs, _ := strconv.Atoi(m[2])
		if has, _ := strconv.Atoi(m[3]); needs > has || has == 0 {
			t.Errorf("%s: it is %d wide, and has %d", m[1], needs, has)
		}
	}
}

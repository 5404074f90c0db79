package yodeltest

import (
	"context"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// Chromium shows a page in chromium, in a window of so many pixels, light or dark, and returns
// what a JavaScript expression evaluates to there, as text. If picture is not empty, it is the
// file that a picture (PNG) of the window is written to. The page may not fetch anything.
func Chromium(t testing.TB, page string, width, height int, dark bool, expression, picture string) string {
	t.Helper()
	program := NeedProgram(t, "chromium")
	dir := t.TempDir()
	file := filepath.Join(dir, "page.html")
	// A window has a least width, a frame has none.
	frame := fmt.Sprintf(`<!doctype html><html><body style="margin:0"><iframe style="border:0;width:%dpx;height:%dpx" srcdoc="%s"></iframe>
<script>document.querySelector("iframe").onload=e=>{document.documentElement.dataset.answer=e.target.contentWindow.eval(%s)}</script></body></html>`,
		width, height, html.EscapeString(page), strconv.Quote(expression))
	if err := os.WriteFile(file, []byte(frame), 0o600); err != nil {
		t.Fatal(err)
	}
	scheme := 1
	if dark {
		scheme = 0
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	run := func(what string) string {
		cmd := exec.CommandContext(ctx, program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
			"--hide-scrollbars", "--user-data-dir="+filepath.Join(dir, "profile"), fmt.Sprintf("--window-size=%d,%d", width, height),
			fmt.Sprintf("--blink-settings=preferredColorScheme=%d", scheme), what, "file://"+file)
		cmd.WaitDelay = time.Second
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("chromium %s: %v", what, err)
		}
		return string(out)
	}
	if picture != "" {
		run("--screenshot=" + picture)
	}
	answer := answered.FindStringSubmatch(run("--dump-dom"))
	if answer == nil {
		t.Fatal("the page has run no script")
	}
	return html.UnescapeString(answer[1])
}

var answered = regexp.MustCompile(`<html[^>]* data-answer="([^"]*)"`)

package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	namedTest = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	namedRow  = regexp.MustCompile(`"([A-G]\d+ [^"]+)"`)
)

// What docs/hostile.md names as shown by a test is a test, and every row of the
// conformance kit that bears a row's name stands there.
func TestHostileDocNamesTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/hostile.md")
	if err != nil {
		t.Fatal(err)
	}
	code := allTests(t)
	for _, m := range namedTest.FindAllStringSubmatch(string(page), -1) {
		if !strings.Contains(code, "func "+m[1]+"(") {
			t.Errorf("docs/hostile.md names %s, and there is no such test", m[1])
		}
	}
	for _, m := range namedRow.FindAllStringSubmatch(string(page), -1) {
		if !strings.Contains(code, `{"`+m[1]+`",`) {
			t.Errorf("docs/hostile.md names the row %q, and the kit has none", m[1])
		}
	}
}

// allTests returns the text of all test files, and of the kit.
func allTests(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, "enginetest/rows.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		b.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

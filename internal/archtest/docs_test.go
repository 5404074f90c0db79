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

// The rows of the conformance kit that docs/hostile.md names are there.
func TestHostilePageNamesRows(t *testing.T) {
	page, err := os.ReadFile("../../docs/hostile.md")
	if err != nil {
		t.Fatal(err)
	}
	code := allTests(t)
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

var (
	namedFile = regexp.MustCompile("`((?:[\\w.-]+/)*[\\w-]+\\.go)`")
	link      = regexp.MustCompile(`\]\(([\w./-]+)(?:#[\w-]+)?\)`)
)

// What a page links to, the files of Go that it names and the tests are there. A name without a
// folder may be anywhere: often the one before it has the folder.
func TestPagesNameWhatIsThere(t *testing.T) {
	code, root := allTests(t), os.DirFS("../..")
	there := map[string]bool{}
	var pages []string
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") { // not ours
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".md") {
			pages = append(pages, path)
		}
		there[path] = true
		if !d.IsDir() {
			there[d.Name()] = true
		}
		return err
	})
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		text, err := fs.ReadFile(root, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range namedFile.FindAllStringSubmatch(string(text), -1) {
			if !there[m[1]] {
				t.Errorf("%s names %s, and there is no such file", page, m[1])
			}
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if !there[filepath.ToSlash(filepath.Join(filepath.Dir(page), m[1]))] {
				t.Errorf("%s links to %s, and there is no such file", page, m[1])
			}
		}
		for _, m := range namedTest.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(code, "func "+m[1]+"(") {
				t.Errorf("%s names %s, and there is no such test", page, m[1])
			}
		}
	}
}

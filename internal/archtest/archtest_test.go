package archtest

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const root = "../.." // of the module, from this folder

func TestArchitecture(t *testing.T) {
	t.Parallel()
	m, err := load(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range yodelArchitecture().check(m) {
		t.Error(f)
	}
}

// A walk that saw nothing would find nothing wrong.
func TestTheWholeModuleIsSeen(t *testing.T) {
	t.Parallel()
	m, err := load(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, pkg := range []string{"yodel", "yodel/trace", "yodel/internal/archtest"} {
		if !slices.Contains(m.packages(), pkg) {
			t.Errorf("package %s was not read; packages: %q", pkg, m.packages())
		}
	}
	if slices.Contains(m.packages(), "yodel/tools") {
		t.Error("tools was read; it is a module of its own")
	}
}

func TestGoMod(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range badGoMod(string(text)) {
		t.Error(f)
	}
}

func TestGoModRulesBite(t *testing.T) {
	t.Parallel()
	const good = "module yodel\n\ngo 1.26.0\n\nrequire golang.org/x/sys v0.49.0\n"
	if found := badGoMod(good); found != nil {
		t.Errorf("good go.mod: %q", found)
	}
	for name, text := range map[string]string{
		"a newer Go":     strings.Replace(good, "1.26.0", "1.27.0", 1),
		"a toolchain":    good + "toolchain go1.26.8\n",
		"a replacement":  good + "replace golang.org/x/sys => ../sys\n",
		"replacements":   good + "replace (\n\ta => b\n)\n",
		"a lint tool":    good + "require mvdan.cc/gofumpt v0.12.0\n",
		"a tool":         good + "tool honnef.co/go/tools/cmd/staticcheck\n",
		"a bench's peer": good + "require github.com/panjf2000/gnet/v2 v2.9.7 // indirect\n",
	} {
		if found := badGoMod(text); len(found) != 1 {
			t.Errorf("%s: found %q, want one", name, found)
		}
	}
}

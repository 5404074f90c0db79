package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"yodel/yodeltest"
)

// units returns the units that docs/serving.md shows, by their names.
func units(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	name := ""
	for line := range strings.Lines(readFile(t, "../../docs/serving.md")) {
		text, indented := strings.CutPrefix(line, "    ")
		path, begins := strings.CutPrefix(text, "# /etc/systemd/system/")
		switch {
		case begins:
			name = strings.TrimSpace(path)
		case !indented && line != "\n":
			name = ""
		case name != "":
			all[name] += text
		}
	}
	return all
}

// systemd understands the units that the document shows, and each starts yodel by a
// command line that it has.
func TestDocumentedUnits(t *testing.T) {
	t.Parallel()
	analyze := yodeltest.NeedProgram(t, "systemd-analyze")
	dir := t.TempDir()
	all := units(t)
	if len(all) != 5 {
		t.Errorf("docs/serving.md shows %d units", len(all))
	}
	var services []string
	for name, text := range all {
		for line := range strings.Lines(text) {
			if command, ok := strings.CutPrefix(line, "ExecStart=/usr/local/bin/yodel "); ok {
				checkCommandLine(t, name, strings.Fields(command))
				services = append(services, strings.Replace(name, "@", "@1", 1))
			}
		}
		text = strings.ReplaceAll(text, "/usr/local/bin/yodel", program(t))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if len(services) != 3 {
		t.Errorf("services: %q", services)
	}
	for name := range all {
		name = strings.Replace(name, "@", "@1", 1)
		r := runProgram(t, nil, analyze, "verify", "--man=no", filepath.Join(dir, name))
		if r.status != 0 || r.err != "" {
			t.Errorf("%s: status %d, %s", name, r.status, r.err)
		}
	}
	r := runProgram(t, nil, analyze, "security", "--offline=yes", "--threshold=20", filepath.Join(dir, "yodel.service"))
	if r.status != 0 {
		t.Errorf("yodel.service is too open: %s", r.out[max(len(r.out)-200, 0):])
	}
}

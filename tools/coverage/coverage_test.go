package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const profile = `mode: atomic
m/rio/split.go:3.10,5.2 4 9
m/rio/split.go:7.10,9.2 1 0
m/sock/address.go:3.10,5.2 2 1
m/sock/dial.go:3.10,5.2 7 1
m/sock/dial.go:8.10,9.2 1 0
m/cmd/yodel/main.go:3.10,5.2 10 0
m/sock/dial.go:8.10,9.2 1 0
m/rio/reader.go:1.1,2.2 5 0
m/rio/reader.go:1.1,2.2 5 1
`

func TestCoverage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		minimums string
		all      bool
		want     []string
		err      string
	}{
		{
			name:     "all kept",
			minimums: "# a comment\n... 90 # the default\n\nm/cmd/... 0\nm/sock/address.go 100\n",
		},
		{
			name:     "the table",
			minimums: "... 90\nm/cmd/... 0\nm/sock/address.go 100\n",
			all:      true,
			want: []string{
				"  0.0 % of   10 statements, at least   0 %  m/cmd/yodel\n",
				" 90.0 % of   10 statements, at least  90 %  m/rio\n",
				" 90.0 % of   10 statements, at least  90 %  m/sock\n",
				"100.0 % of    2 statements, at least 100 %  m/sock/address.go\n",
			},
		},
		{
			name:     "a package below",
			minimums: "... 90\nm/cmd/... 0\nm/rio 90.5\n",
			want: []string{
				" 90.0 % of   10 statements, at least 90.5 %  m/rio\n",
				"      not run: m/rio/split.go:7-9\n",
			},
			err: "fewer statements",
		},
		{
			name:     "a file below",
			minimums: "m/sock/dial.go 88\n",
			want: []string{
				" 87.5 % of    8 statements, at least  88 %  m/sock/dial.go\n",
				"      not run: m/sock/dial.go:8-9\n",
			},
			err: "fewer statements",
		},
		{
			name:     "the last line that fits counts",
			minimums: "m/cmd/yodel 0\nm/cmd/... 1\n",
			want: []string{
				"  0.0 % of   10 statements, at least   1 %  m/cmd/yodel\n",
				"      not run: m/cmd/yodel/main.go:3-5\n",
			},
			err: "fewer statements",
		},
		{
			name:     "a file that has gone",
			minimums: "m/rio/lines.go 0\n",
			want:     []string{"m/rio/lines.go: has a minimum, and no statements in the profile\n"},
			err:      "fewer statements",
		},
		{name: "a word too many", minimums: "\nm/rio 90 %\n", err: `line 2: "m/rio 90 %" is not a pattern and a percentage`},
		{name: "not a number", minimums: "m/rio most\n", err: `line 1: "most" is not a percentage`},
		{name: "over all", minimums: "m/rio 101\n", err: `line 1: "101" is not a percentage`},
		{name: "under none", minimums: "m/rio -1\n", err: `line 1: "-1" is not a percentage`},
		{name: "nothing at all", minimums: "m/rio NaN\n", err: `line 1: "NaN" is not a percentage`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := try(t, tt.minimums, profile, tt.all)
			if want := strings.Join(tt.want, ""); got != want {
				t.Errorf("printed\n%swant\n%s", got, want)
			}
			wantError(t, err, tt.err)
		})
	}
}

func TestManyPlaces(t *testing.T) {
	t.Parallel()
	text := "mode: set\n" + strings.Repeat("m/a.go:1.1,2.2 1 0\n", 3)
	for _, line := range strings.Split("abcdefghijklmnopqrstuv", "") {
		text += "m/" + line + ".go:1.1,2.2 1 0\n"
	}
	got, err := try(t, "m 50\n", text, false)
	wantError(t, err, "fewer statements")
	if !strings.Contains(got, "t.go:1-2\n      and 2 places more\n") {
		t.Errorf("printed\n%s", got)
	}
}

func TestBadProfile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                              `line 1: "" is not a place and two numbers`,
		"m/a.go:1.1,2.2 1":              `is not a place and two numbers`,
		"m/a.go 1 1":                    `"m/a.go" is not a file and two positions`,
		"m/a.go:1,2 1 1":                `"m/a.go:1,2" is not a file and two positions`,
		"mode: set\nm/a.go:1.1,2.2 x 1": `line 2: strconv.Atoi: parsing "x"`,
	} {
		_, err := try(t, "... 90\n", text, false)
		wantError(t, err, want)
	}
}

func TestMissingFiles(t *testing.T) {
	t.Parallel()
	here := filepath.Join(t.TempDir(), "minimums")
	wantError(t, run(nil, here, here, false), "minimums")
	write(t, here, "... 90\n")
	wantError(t, run(nil, here, here+".out", false), "minimums.out")
}

// A package without statements, types alone, is not below anything.
func TestNoStatements(t *testing.T) {
	t.Parallel()
	if r := (result{least: 100}); r.below() {
		t.Errorf("%g %% of no statements is below 100 %%", r.percent())
	}
}

func try(t *testing.T, minimums, profile string, all bool) (string, error) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "minimums"), minimums)
	write(t, filepath.Join(dir, "profile"), profile)
	var printed strings.Builder
	err := run(&printed, filepath.Join(dir, "minimums"), filepath.Join(dir, "profile"), all)
	return printed.String(), err
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("error %v, want %q", err, want)
	}
}

// Package archtest checks the architecture: who may import whom, and what some
// packages must leave alone. The rules stand in rules.go, each with its reason,
// which is what a failing test prints.
//
// All files are checked, those for other platforms too. For the standard library
// and other modules the direct imports count, since fmt alone brings in os; for
// this module's own packages a rule may follow imports all the way down.
package archtest

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// A rule says what the packages it binds must not import or use.
type rule struct {
	in     []string // patterns of the packages it binds
	except []string // patterns of those that it leaves out
	files  string   // pattern of the file names it binds; "" binds all
	scope  scope

	imports []string // patterns of import paths that are banned
	deep    bool     // they are banned through other packages of the module too
	uses    []string // names that are banned: "time.Now", "os.*"; see reader.addUse
	allow   []string // what imports or uses would ban, and may stay
	unless  string   // a file that imports this is not bound

	why string // the reason, and what to do instead; printed in a failure
}

// A scope says which files a rule binds.
type scope int

const (
	sources    scope = iota // files that are built into programs
	tests                   // _test.go files
	everything              // both
)

func (s scope) binds(f file) bool {
	return s == everything || f.test == (s == tests)
}

// A layer is a group of packages. A package may import those of the layers below
// its own, those under its own folder, and the package whose folder it is in.
type layer struct {
	packages []string // patterns; the first layer that matches a package has it
	why      string   // why these packages import neither each other nor upwards
}

// A finding is one place where a rule is broken.
type finding struct {
	path string // the file, or the folder where no single file is to blame
	line int    // 0 for a folder
	what string
	why  string
}

func (f finding) String() string {
	if f.line == 0 {
		return fmt.Sprintf("%s: %s: %s", f.path, f.what, f.why)
	}
	return fmt.Sprintf("%s:%d: %s: %s", f.path, f.line, f.what, f.why)
}

// An architecture is all that a module is checked against.
type architecture struct {
	layers   []layer // from the bottom up
	rules    []rule
	badNames []string // folder and package names that say nothing
}

// check returns all places in m that break a, in the order of files and lines.
func (a architecture) check(m *module) []finding {
	found := append(a.unplaced(m), a.upward(m)...)
	found = append(found, a.badlyNamed(m)...)
	for _, r := range a.rules {
		found = append(found, r.check(m)...)
	}
	slices.SortStableFunc(found, func(x, y finding) int {
		return cmp.Or(strings.Compare(x.path, y.path), cmp.Compare(x.line, y.line))
	})
	return found
}

// matches reports whether pattern fits importPath. A pattern is an import path;
// "p/..." is p and all below it, "..." is every path, and "other modules" is every
// path that is neither this module's nor the standard library's.
func matches(pattern, importPath string) bool {
	if pattern == "..." {
		return true
	}
	if pattern == "other modules" {
		first, _, _ := strings.Cut(importPath, "/")
		return strings.Contains(first, ".")
	}
	if top, ok := strings.CutSuffix(pattern, "/..."); ok {
		return within(importPath, top)
	}
	return pattern == importPath
}

// within reports whether importPath is top or below it.
func within(importPath, top string) bool {
	rest, ok := strings.CutPrefix(importPath, top)
	return ok && (rest == "" || rest[0] == '/')
}

func matchesAny(patterns []string, importPath string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, importPath) })
}

func (r rule) check(m *module) []finding {
	var found []finding
	for _, f := range m.files {
		if !r.binds(f) {
			continue
		}
		for _, i := range f.imports {
			if chain := r.bannedImport(m, i.name); chain != nil {
				what := f.pkg + " imports " + strings.Join(chain, ", which imports ")
				found = append(found, finding{f.path, i.line, what, r.why})
			}
		}
		for _, u := range f.uses {
			if r.bansUse(u.name) {
				found = append(found, finding{f.path, u.line, f.pkg + " uses " + u.name, r.why})
			}
		}
	}
	return found
}

func (r rule) binds(f file) bool {
	if !r.scope.binds(f) || !matchesAny(r.in, f.pkg) || matchesAny(r.except, f.pkg) {
		return false
	}
	if r.unless != "" && f.mentions(r.unless) {
		return false
	}
	fits, err := path.Match(cmp.Or(r.files, "*"), path.Base(f.path))
	return fits && err == nil
}

// bannedImport returns nil if importPath may be imported; otherwise the imports
// that lead to what is banned: importPath first, the banned one last.
func (r rule) bannedImport(m *module, importPath string) []string {
	if r.bans(importPath) {
		return []string{importPath}
	}
	if !r.deep {
		return nil
	}
	return m.chain(importPath, r.bans)
}

func (r rule) bans(importPath string) bool {
	return matchesAny(r.imports, importPath) && !matchesAny(r.allow, importPath)
}

func (r rule) bansUse(name string) bool {
	fits := func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	}
	return slices.ContainsFunc(r.uses, fits) && !slices.ContainsFunc(r.allow, fits)
}

// chain returns the shortest way from a package of the module, over what its
// sources import, to a package that hit accepts; nil if there is none.
func (m *module) chain(from string, hit func(string) bool) []string {
	seen := map[string]bool{from: true}
	for queue := [][]string{{from}}; len(queue) > 0; queue = queue[1:] {
		way := queue[0]
		for _, next := range m.sourceImports(way[len(way)-1]) {
			longer := append(slices.Clone(way), next)
			if hit(next) {
				return longer
			}
			if !seen[next] {
				seen[next] = true
				queue = append(queue, longer)
			}
		}
	}
	return nil
}

// sourceImports returns what the package's files import, tests left aside.
func (m *module) sourceImports(pkg string) []string {
	var paths []string
	for _, f := range m.files {
		if f.pkg != pkg || f.test {
			continue
		}
		for _, i := range f.imports {
			paths = append(paths, i.name)
		}
	}
	return paths
}

// unplaced finds the packages that are in no layer.
func (a architecture) unplaced(m *module) []finding {
	var found []finding
	for _, pkg := range m.packages() {
		if a.layerOf(pkg) < 0 {
			found = append(found, finding{
				path: pkg, what: "this package is in no layer",
				why: "where things live is visible from the folder list: write it into layers in internal/archtest/rules.go, where it belongs",
			})
		}
	}
	return found
}

// layerOf returns the package's place in a.layers, -1 if it is in none.
func (a architecture) layerOf(pkg string) int {
	return slices.IndexFunc(a.layers, func(l layer) bool { return matchesAny(l.packages, pkg) })
}

// upward finds the imports of this module's own packages that do not go down.
// Tests may import what is above: they are built into nothing.
func (a architecture) upward(m *module) []finding {
	var found []finding
	for _, f := range m.files {
		own := a.layerOf(f.pkg)
		if f.test || own < 0 {
			continue
		}
		for _, i := range f.imports {
			if within(i.name, home) && a.layerOf(i.name) >= own && !family(f.pkg, i.name) {
				what := fmt.Sprintf("%s imports %s, which is not below it", f.pkg, i.name)
				found = append(found, finding{f.path, i.line, what, a.layers[own].why})
			}
		}
	}
	return found
}

// family reports whether one of two packages is inside the other's folder. The
// module's root is everyone's parent and so nobody's.
func family(a, b string) bool {
	return a != home && b != home && (within(a, b) || within(b, a))
}

// badlyNamed finds folders and packages with a name of badNames.
func (a architecture) badlyNamed(m *module) []finding {
	const why = "a name that fits everything says nothing: put the code with its only caller, or give it a noun"
	var found []finding
	for _, f := range m.files {
		if slices.Contains(a.badNames, f.name) && f.name != path.Base(f.pkg) {
			found = append(found, finding{path: f.path, line: 1, what: "package " + f.name, why: why})
		}
	}
	for _, pkg := range m.packages() {
		for element := range strings.SplitSeq(pkg, "/") {
			if slices.Contains(a.badNames, element) {
				found = append(found, finding{path: pkg, what: "folder " + element, why: why})
			}
		}
	}
	return found
}

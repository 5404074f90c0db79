package archtest

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// home is how the rules write this module's path, whatever go.mod calls it.
const home = "yodel"

// A module is all source files below one go.mod.
type module struct {
	files []file
}

// A file is what the rules look at in one source file.
type file struct {
	path    string // from the module's root, with slashes
	pkg     string // import path of its folder, starting with home
	name    string // in its package clause, without "_test"
	test    bool   // is it a _test.go file
	imports []ref  // import paths; those of this module start with home
	uses    []ref  // "time.Now": a name from an import; "go": a go statement; see addUse
}

// A ref is a name and the line where a file mentions it.
type ref struct {
	name string
	line int
}

// mentions reports whether the file imports path.
func (f file) mentions(path string) bool {
	return slices.ContainsFunc(f.imports, func(r ref) bool { return r.name == path })
}

// load reads the module whose go.mod is at the root of fsys: every Go file of
// every platform, without regard to build constraints. Folders that the go
// command leaves out ("testdata", "vendor", those starting with "." or "_") and
// modules inside the module are left out here too.
func load(fsys fs.FS) (*module, error) {
	self, err := modulePath(fsys)
	if err != nil {
		return nil, err
	}
	m := new(module)
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return enter(fsys, name)
		case path.Ext(name) != ".go":
			return nil
		}
		f, err := parse(fsys, name, self)
		m.files = append(m.files, f)
		return err
	})
	return m, err
}

// modulePath returns the path on the module line of go.mod.
func modulePath(fsys fs.FS) (string, error) {
	text, err := fs.ReadFile(fsys, "go.mod")
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(text) {
		if words := strings.Fields(string(line)); len(words) == 2 && words[0] == "module" {
			return strings.Trim(words[1], `"`), nil
		}
	}
	return "", errors.New("go.mod has no module line")
}

// enter returns fs.SkipDir for a folder that is not part of the module.
func enter(fsys fs.FS, dir string) error {
	if dir == "." {
		return nil
	}
	base := path.Base(dir)
	if base == "testdata" || base == "vendor" || base[0] == '.' || base[0] == '_' {
		return fs.SkipDir
	}
	if _, err := fs.Stat(fsys, path.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

// parse reads one source file of the module whose import path is self.
func parse(fsys fs.FS, name, self string) (file, error) {
	src, err := fs.ReadFile(fsys, name)
	if err != nil {
		return file{}, err
	}
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return file{}, fmt.Errorf("read imports: %w", err)
	}
	r := reader{
		fset:  fset,
		local: make(map[string]string),
		file: file{
			path: name,
			pkg:  path.Join(home, path.Dir(name)),
			name: strings.TrimSuffix(tree.Name.Name, "_test"),
			test: strings.HasSuffix(name, "_test.go"),
		},
	}
	for _, spec := range tree.Imports {
		r.addImport(spec, self)
	}
	ast.Inspect(tree, r.visit)
	return r.file, nil
}

// A reader fills in a file while it walks the file's syntax tree.
type reader struct {
	fset  *token.FileSet
	local map[string]string // import path by the name that the file knows it by
	file  file
}

func (r *reader) addImport(spec *ast.ImportSpec, self string) {
	full, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
	if rest, ok := strings.CutPrefix(full, self); ok && (rest == "" || rest[0] == '/') {
		full = home + rest
	}
	r.file.imports = append(r.file.imports, ref{full, r.line(spec)})
	switch {
	case spec.Name == nil:
		r.local[baseName(full)] = full
	case spec.Name.Name == ".":
		r.addUse(spec, "dot import")
	default:
		r.local[spec.Name.Name] = full
	}
}

// baseName guesses the package name from its import path, as people do: the last
// element that is not a major version.
func baseName(importPath string) string {
	dir, base := path.Split(importPath)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" && dir != "" {
		return path.Base(dir)
	}
	return base
}

func (r *reader) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		r.addUse(n, "go")
	case *ast.FuncDecl:
		if n.Recv == nil && n.Name.Name == "init" {
			r.addUse(n, "func init")
		}
	case *ast.SelectorExpr:
		if x, ok := n.X.(*ast.Ident); ok && r.local[x.Name] != "" {
			r.addUse(n, r.local[x.Name]+"."+n.Sel.Name)
		}
	}
	return true
}

// addUse notes what a rule may ban by name: "go" for a go statement, "func init",
// "dot import", or an imported package's path, a dot and the name used of it.
func (r *reader) addUse(n ast.Node, name string) {
	r.file.uses = append(r.file.uses, ref{name, r.line(n)})
}

func (r *reader) line(n ast.Node) int { return r.fset.Position(n.Pos()).Line }

// packages returns the import paths of the module's packages in order.
func (m *module) packages() []string {
	set := make(map[string]bool)
	for _, f := range m.files {
		set[f.pkg] = true
	}
	return slices.Sorted(maps.Keys(set))
}

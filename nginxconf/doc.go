// Package nginxconf is the language of nginx's configuration files: words and
// blocks, contexts, arguments, values, inheritance, include, and nginx's messages
// for what is wrong. It knows no directive; modules bring theirs as rows.
// https://nginx.org/en/docs/beginners_guide.html#conf_structure
// https://nginx.org/en/docs/syntax.html
//
// # From text to values
//
// Load reads the main file. Parse makes statements of a file's text: a scanner
// finds the words and lines by nginx's lexical rules, gonginx builds the tree, and
// both must agree. Each statement is then checked in reading order as nginx does:
// is the name known, may it stand here, does it end with `;` or `{` as it should,
// has it the right number of arguments, is the value good. include is followed at
// its place. The first error in reading order wins. When all is read, values are
// completed from the outer blocks inwards: an unset value is the enclosing
// block's, at the outermost the row's default.
//
// # Rows
//
// A module has a struct, its Conf, with a field for each value, and lists its
// directives as rows bound to these fields (see Settings and Directive). Opt and
// List are the fields; Flag, Num, Size, Msec, Str, Enum, Mask, Bufs, Custom, Each,
// Many, Block, Raw, Call and Accepted make rows.
//
// # What differs from nginx
//
// An include cycle is an error, where nginx reads on until it dies. A directive that
// nginx knows and no module has is refused by name, never dropped (see Options).
// Messages are nginx's otherwise, with its file and line: testdata/wrong has them.
package nginxconf

package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"limpet/internal/errlog"
	"limpet/internal/ngx"
	"limpet/internal/process"
	"limpet/internal/server"
	"limpet/sticky"
	"limpet/upstream"
)

const cookieHelp = `Usage: limpet cookie UPSTREAM [-c filename] [-p prefix] [-g directives] [--option ...]

Shows for each server of a sticky upstream the cookie that limpet sets for its
clients, and all values by which it knows them: those of the other dialects, too, by
the words of the metric limpet_sticky_cookies_total. Nothing is asked or served; the
configuration is read as -t reads it, with the same options.
`

// cookie is the verb cookie.
func cookie(args []string) int {
	name := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	o, err := parseOptions(args)
	switch {
	case err != nil:
	case o.help:
		io.WriteString(os.Stdout, cookieHelp)
		return 0
	case name == "":
		err = fmt.Errorf("wants UPSTREAM; see limpet cookie -h")
	}
	if err == nil {
		opt := o.server(o.layout())
		b, config, failed := server.Look(opt)
		process.NewConsole("", opt.Prefix, true).Notices(config, errlog.Warn)
		if err = failed; err == nil {
			err = showCookies(os.Stdout, ngx.Shared[upstream.Groups](b).List, name)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "limpet cookie: %v\n", err)
		return 1
	}
	return 0
}

// showCookies prints what names each peer of the group of that name.
func showCookies(w io.Writer, groups []*upstream.Group, name string) error {
	var names []string
	for _, g := range groups {
		if g.FullName() == name {
			st := sticky.Of(g)
			if st == nil {
				return fmt.Errorf(`upstream "%s" isn't sticky`, name)
			}
			show(w, g, st)
			return nil
		}
		names = append(names, g.FullName())
	}
	return fmt.Errorf(`no upstream "%s"; there is %s`, name, strings.Join(names, ", "))
}

func show(w io.Writer, g *upstream.Group, st *sticky.Policy) {
	fmt.Fprintf(w, "upstream %s, sticky as by %s in %s\n", g.FullName(), st.Dialect(), st.Where())
	for _, p := range g.Peers().All {
		fmt.Fprintf(w, "\n%s\n", p.Name)
		known := st.Names(p)
		switch v := st.Value(p); {
		case v != "":
			fmt.Fprintf(w, "  writes  %s=%s\n", st.Cookie(), v)
		case known == nil:
			fmt.Fprintln(w, "  no value names it: sessions are known otherwise")
		default:
			fmt.Fprintln(w, "  writes no value of its own, or one made for each request")
		}
		for _, n := range known {
			fmt.Fprintf(w, "  %-14s %s\n", n.Spelling, n.Value)
		}
	}
}

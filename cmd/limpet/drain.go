package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"limpet/internal/admin"
)

const drainHelp = `Usage: limpet drain UPSTREAM SERVER --admin ADDR [--wait] [--timeout D] [--window D]

Sends only clients that stick to the server there; new ones go elsewhere. SERVER is
an address as the logs show it, or what its server line says.

  --admin ADDR  : where limpet's --admin is: ip:port, or unix:path
  --wait        : wait until nobody is left: no open connection, and no client within the window
  --timeout D   : wait, but not longer than this: 90s, 30m, 2h
  --window D    : how long no client may have come (default 10m); 0: open connections alone count

The environment's LIMPET_ADMIN_TOKEN is the endpoint's token; a unix socket needs none.
It lasts until limpet undrain, over reloads and, where limpet has --state, over restarts.
Exit code: 0 when it is done, with --wait when nobody is left; 1 at a timeout or an error.
`

const undrainHelp = `Usage: limpet undrain UPSTREAM SERVER --admin ADDR

Takes limpet drain back: the server gets new clients again.

  --admin ADDR  : where limpet's --admin is: ip:port, or unix:path

The environment's LIMPET_ADMIN_TOKEN is the endpoint's token; a unix socket needs none.
`

// drain is the verbs drain and undrain.
func drain(verb string, args []string) int {
	d := admin.Drain{Undo: verb == "undrain", Window: defaultWindow}
	v := newVerb(verb, "UPSTREAM SERVER", drainHelp)
	if d.Undo {
		v.help = undrainHelp
	} else {
		v.flags.BoolVar(&d.Wait, "wait", false, "")
		v.flags.DurationVar(&d.Timeout, "timeout", 0, "")
		v.flags.DurationVar(&d.Window, "window", defaultWindow, "")
	}
	return v.run(args, 2, func(client *admin.Client) error {
		if d.Window < 0 || d.Timeout < 0 {
			return errors.New("durations aren't negative")
		}
		d.Client, d.Upstream, d.Peer = client, v.flags.Arg(0), v.flags.Arg(1)
		d.Wait = d.Wait || d.Timeout > 0
		return d.Run(os.Stderr)
	})
}

// defaultWindow is how far back clients are counted unless --window says otherwise.
const defaultWindow = 10 * time.Minute

// verb is a command that asks a limpet that runs.
type verb struct {
	name, words, help string // words are what it wants besides options
	flags             *pflag.FlagSet
	admin             string
}

func newVerb(name, words, help string) *verb {
	v := &verb{name: name, words: words, help: help, flags: pflag.NewFlagSet(name, pflag.ContinueOnError)}
	v.flags.Usage = func() {}
	v.flags.StringVar(&v.admin, "admin", "", "")
	return v
}

// run reads the command line, which has as many words besides options as the verb
// wants or, from least on, fewer, and does the verb. It returns the exit code.
func (v *verb) run(args []string, least int, do func(*admin.Client) error) int {
	err := v.flags.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		io.WriteString(os.Stdout, v.help)
		return 0
	}
	switch n := v.flags.NArg(); {
	case err != nil:
	case n < least || n > len(strings.Fields(v.words)):
		err = fmt.Errorf("wants %s; see limpet %s -h", v.words, v.name)
	case v.admin == "":
		err = fmt.Errorf("--admin ADDR is needed, as limpet was started with; see limpet %s -h", v.name)
	default:
		err = do(admin.NewClient(v.admin, os.Getenv("LIMPET_ADMIN_TOKEN")))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "limpet %s: %v\n", v.name, err)
		return 1
	}
	return 0
}

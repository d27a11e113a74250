package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"limpet/internal/admin"
)

// drain is the verbs drain and undrain.
func drain(verb string, args []string) int {
	flags := pflag.NewFlagSet(verb, pflag.ContinueOnError)
	flags.Usage = func() {}
	d := admin.Drain{Token: os.Getenv("LIMPET_ADMIN_TOKEN"), Undo: verb == "undrain", Every: time.Second}
	flags.StringVar(&d.Admin, "admin", "", "")
	flags.BoolVar(&d.Wait, "wait", false, "")
	flags.DurationVar(&d.Window, "window", 10*time.Minute, "")
	err := flags.Parse(args)
	if err == nil && (flags.NArg() != 2 || d.Admin == "" || d.Window <= 0) {
		err = fmt.Errorf("usage: limpet %s --admin ADDR [--wait] [--window 10m] UPSTREAM PEER", verb)
	}
	if err == nil {
		d.Upstream, d.Peer = flags.Arg(0), flags.Arg(1)
		err = d.Run(os.Stdout)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "limpet %s: %v\n", verb, err)
		return 1
	}
	return 0
}

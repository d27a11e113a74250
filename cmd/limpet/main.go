// Command limpet is an HTTP load balancer that runs nginx configuration files.
package main

import (
	"fmt"
	"os"

	"limpet/internal/server"
)

func main() {
	s, _, err := server.New(server.Options{ConfFile: os.Args[1], Prefix: os.Args[2], ErrorLog: "stderr"})
	if err != nil {
		fmt.Fprintln(os.Stderr, "nginx: [emerg]", err)
		os.Exit(1)
	}
	s.Start()
	select {}
}

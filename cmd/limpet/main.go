// Command limpet is an HTTP load balancer that runs nginx configuration files.
package main

func main() {}

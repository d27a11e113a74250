// Package seed is the configuration that the project began with, as its user
// wrote it: the route-cookie balancer in Lua and the active checks of OpenResty.
// nginx.conf.fragment belongs inside http{}; its line of three dots is an ellipsis.
package seed

import "embed"

// Files are the files, unchanged.
//
//go:embed nginx.conf.fragment lua/balancer.lua
var Files embed.FS

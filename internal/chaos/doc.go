// Package chaos holds tests alone: limpet under clients and peers that do everything
// at once and at the wrong moment, while its configuration is reloaded. What they
// look for is not what an answer says but that it is whole, that it is the right
// client's, and that nothing is left behind.
//
// CHAOS=60s makes the main test run that long.
package chaos

// Package cli is the command line of those who use a gateway: its commands, as
// structs whose tags say what kong reads into them. They reach the gateway
// through the public Go client, and a broker, where one is named, through MQTT.
//
// Standard output has what was asked for and nothing else; everything that is
// said about it goes to standard error. On a terminal it is aligned and
// coloured, and nothing that a device has published can steer the terminal; on a
// pipe it is plain, byte for byte.
package cli

package config

import (
	"fmt"
	"os"
)

// checkEmbedded checks where the embedded broker keeps its messages. The
// directory need not exist yet.
func checkEmbedded(c *Config) ([]string, error) {
	if c.EmbeddedDir == "" {
		return nil, nil
	}
	if info, err := os.Stat(c.EmbeddedDir); err == nil && !info.IsDir() {
		return nil, refuse(envEmbeddedDir, "%q is a file; name a directory", c.EmbeddedDir)
	}
	if c.broker != nil {
		return []string{fmt.Sprintf("%s is not used: a broker is set, and the embedded one does not start", envEmbeddedDir)}, nil
	}
	return nil, nil
}

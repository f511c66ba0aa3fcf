package main

import (
	"os"
	"path/filepath"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// draw writes two plots side by side as SVG: the rate, and the memory.
func (g growth) draw(file string) error {
	rate, own, rss := make(plotter.XYs, 0), make(plotter.XYs, 0), make(plotter.XYs, 0)
	for _, p := range g.points {
		rate = append(rate, plotter.XY{X: float64(p.x), Y: p.rate})
		rss = append(rss, plotter.XY{X: float64(p.x), Y: p.rss})
		if p.own > 0 {
			own = append(own, plotter.XY{X: float64(p.x), Y: p.own})
		}
	}
	left, err := logPlot(g.x, g.rate, "gateway", rate, "mosquitto's own", own)
	if err != nil {
		return err
	}
	right, err := logPlot(g.x, "resident, MiB", "gateway", rss)
	if err != nil {
		return err
	}
	canvas := vgsvg.New(24*vg.Centimeter, 9*vg.Centimeter)
	plots := [][]*plot.Plot{{left, right}}
	tiles := draw.Tiles{Rows: 1, Cols: 2, PadX: vg.Centimeter, PadTop: 2 * vg.Millimeter, PadBottom: 2 * vg.Millimeter, PadRight: 5 * vg.Millimeter}
	for i, c := range plot.Align(plots, tiles, draw.New(canvas))[0] {
		plots[0][i].Draw(c)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// logPlot has logarithmic axes: what grows does so by tens. named is names and
// lines in turn.
func logPlot(x, y string, named ...any) (*plot.Plot, error) {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = x, y
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Scale = plot.LogScale{}
		axis.Tick.Marker = powers{}
	}
	p.Add(plotter.NewGrid())
	if err := plotutil.AddLinePoints(p, named...); err != nil {
		return nil, err
	}
	// A reader's font may be wider than the one that the plot is laid out with:
	// to the right there is room.
	p.Legend.Top, p.Legend.Left, p.Legend.XOffs, p.Legend.Padding = true, true, 2*vg.Millimeter, vg.Millimeter
	// Whole powers of ten at both ends, so that a nearly flat line looks so.
	p.Y.Min, p.Y.Max = powerBelow(p.Y.Min), powerAbove(p.Y.Max)
	return p, nil
}

// powers marks the powers of ten.
type powers struct{}

// Ticks implements plot.Ticker.
func (powers) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for v := powerBelow(low); v <= high*1.001; v *= 10 {
		if v >= low*0.999 {
			ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'f', -1, 64)})
		}
	}
	return ticks
}

func powerBelow(v float64) float64 {
	p := 1e-6
	for p*10 <= v {
		p *= 10
	}
	return p
}

func powerAbove(v float64) float64 {
	p := 1e-6
	for p < v {
		p *= 10
	}
	return p
}

"""Files whose cells have types of their own: JSON lines and Excel workbooks."""

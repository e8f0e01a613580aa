-- Who had this terminal at that time: asked for every alarm that is raised and for every track.

CREATE INDEX installations_by_terminal ON installations (terminal_id, installed_at);

'''The web page: what a person does without writing code, served on the one port beside the API.

It holds no truth of its own: every page reads and writes through the same door as any client (`client.py`), and what a
page shows is decided by its address and the store alone. Nothing here imports torch, and NiceGUI, which costs two
seconds, is imported only when somebody first opens a page (`site.py`, `pages_app.py`).

How to add a page
-----------------

One page is one file in `pages/` and one line in its `PAGES`:

    """What the page is for, in a sentence."""

    async def build(visit: Visit) -> None:
        found = await visit.ask("ListModels", page=1, per_page=100)   # user_app_id is filled in from the address
        title("Models", "What was trained here.")
        if not found.models:
            empty("school", "No models yet", "A model learns from a dataset: choose a template and start a training.")

    PAGE = Page(path="/users/{user_id}/apps/{app_id}/models", title="Models", build=build, tab=Tab("Models", "school"))

* `visit.ask(RPC_NAME, **fields)` calls the door in a thread and raises `Refused` with the door's sentence. A refusal
  while the page is built becomes its content; one in an event handler becomes a notification: no code in the page.
* What the page shows belongs in its address: read it with `visit.query("concept")`, change it with
  `visit.remember(concept="rose")` (no reload) or `visit.go(path)`. Never in Python attributes that a reload would lose.
* Live figures: `visit.every(seconds, refresh)` calls an async function while somebody looks.
* Pieces that look alike everywhere (titles, cards, figures, empty states, buttons, confirmations) are in `pieces.py`;
  colours and spaces are variables in `static/lehr.css`. No colour is written in a page.
* User text goes into `ui.label`, `ui.input`, props: never into `ui.html`, `ui.markdown`, a template or a `:prop`.
* What the browser must do by itself (galleries, drawing) is an ES module in `components/` with a Python class beside
  it. It calls the REST face with `static/rest.js`; its cookie is accepted there only with that module's header.
'''

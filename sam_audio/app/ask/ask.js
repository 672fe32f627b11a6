// A field to ask in, with the known labels as suggestions, and a chip for each sound that was heard.
//
// Python sends `turn`: with a new one what was asked has been taken, and the field is empty again.

const asking = new WeakMap();

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  let place = asking.get(parentElement);
  if (!place) {
    place = new Ask(parentElement.querySelector("#ask"));
    asking.set(parentElement, place);
  }
  place.send = (text) => setTriggerValue("ask", text);
  place.update(data);
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

class Ask {
  constructor(root) {
    this.labels = element("datalist", { id: "labels" });
    this.field = element("input", { type: "text", id: "text", list: "labels", autocomplete: "off", placeholder: "guitar, a dog barking, the voice…", maxlength: 300 });
    this.button = element("button", { type: "submit" }, "Separate");
    this.chips = element("div", { class: "chips", role: "group", "aria-label": "What is heard" });
    const form = element("form", { onsubmit: (event) => { event.preventDefault(); this.send({ text: this.field.value, n: performance.now() }); } },
      element("label", { for: "text" }, "What do you want to hear?"), element("div", { class: "line" }, this.field, this.button));
    root.replaceChildren(element("div", { class: "ask" }, form, this.labels, this.chips));
  }

  update(data) {
    if (this.turn !== undefined && data.turn !== this.turn) this.field.value = "";
    this.turn = data.turn;
    if (this.known !== data.labels.length) {
      this.known = data.labels.length;
      this.labels.replaceChildren(...data.labels.map((label) => element("option", { value: label })));
    }
    const heard = data.heard.map((one) => element("button", {
      type: "button", class: "chip", title: `${one.about}`, "aria-label": `Separate ${one.name}`,
      onclick: () => this.send({ text: one.name, n: performance.now() }), ...(one.taken ? { disabled: "" } : {}),
    }, one.taken ? `✓ ${one.name}` : `+ ${one.name}`, element("small", {}, one.share)));
    this.chips.replaceChildren(...(data.says ? [element("span", { class: "says" }, data.says)] : []), ...heard);
  }
}

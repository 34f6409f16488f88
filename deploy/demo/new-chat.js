// The form for a new chat.

import { sentence } from './format.js';

export class NewChat {
  #ui;
  #me;
  #create;

  /** `create({ participantIds, type, title? })` makes the chat, and gives what opens it. */
  constructor(ui, me, create) {
    this.#ui = ui;
    this.#me = me;
    this.#create = create;
    const form = ui['new-chat-form'];
    ui['new-chat'].onclick = () => this.#show(form.hidden);
    ui['new-chat-cancel'].onclick = () => this.#show(false);
    form.onsubmit = (event) => {
      event.preventDefault();
      this.#submit();
    };
    form.onkeydown = (event) => {
      if (event.key === 'Escape') this.#show(false);
    };
  }

  #show(shown) {
    const ui = this.#ui;
    const form = ui['new-chat-form'];
    form.hidden = !shown;
    ui['new-chat'].setAttribute('aria-expanded', String(shown));
    this.#showError(null);
    if (shown) {
      form.elements.people.focus();
    } else {
      form.reset();
      ui['new-chat'].focus();
    }
  }

  #showError(text) {
    const ui = this.#ui;
    ui['new-chat-error'].hidden = text === null;
    ui['new-chat-error'].textContent = text ?? '';
    ui['new-chat-form'].elements.people.setAttribute('aria-invalid', String(text !== null));
  }

  async #submit() {
    const { people, title } = this.#ui['new-chat-form'].elements;
    const called = title.value.trim();
    const participantIds = people.value.split(',').map((id) => id.trim()).filter((id) => id !== '' && id !== this.#me);
    if (participantIds.length === 0) {
      this.#showError('Name at least one other user.');
      return;
    }
    const type = participantIds.length > 1 || called !== '' ? 'group' : 'direct';
    try {
      const open = await this.#create({ participantIds, type, ...(called === '' ? {} : { title: called }) });
      this.#show(false);
      open();
    } catch (error) {
      this.#showError(sentence(error));
    }
  }
}

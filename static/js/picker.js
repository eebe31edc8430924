/* The Upload button opens the browser's own picker, and what is chosen is sent. */
import { one } from "./dom.js";
import { add } from "./queue.js";

const button = one("[data-pick-files]");

if (button) {
  const { folderId: id, folderName: name } = one("[data-folder-id]").dataset;
  const input = one("[data-upload-form] input[type=file]");
  button.addEventListener("click", (event) => {
    event.preventDefault();
    input.click();
  });
  input.addEventListener("change", () => {
    add([...input.files], { id, name });
    input.value = "";
  });
}

/* Which script serves which page. Each finds its elements by data- attributes
   and does nothing where they are absent. */
import "./appearance.js";
import "./menus.js";
import "./passwords.js";
import "./time.js";
import "./toasts.js";
import "./selection.js";
import "./keyboard.js";
import "./actions.js";
import "./chooser.js";
import "./drag.js";
import "./picker.js";
import "./drop.js";
import "./tray.js";
import "./leave.js";
import "./array.js";
import "./copy.js";
import "./busy.js";

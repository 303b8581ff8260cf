-- Apart from the columns, so that nobody waits for the table meanwhile.
update changes
   set set_identifier = change::json -> 'key' ->> 'set_identifier',
       action = case when change::json -> 'before' is null then 'create'
                     when change::json -> 'after' is null then 'delete'
                     else 'update' end;
